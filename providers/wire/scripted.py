import asyncio
from providers.wire.base import *
class Scripted:
    name="demo"
    async def stream(self, request, key):
        for w in [("word%d "%i) for i in range(60)]:
            await asyncio.sleep(0.03); yield Delta(w)
        yield Usage(3,60); yield Finished("stop")
    async def aclose(self): pass
