"""A script for pages, in any browser."""

# Resolves when the page has not moved for 300 ms: the browser scrolls smoothly, and goes on after a swipe.
RESTS = """async () => {
    let top, since;
    do {
        if (scrollY !== top) [top, since] = [scrollY, performance.now()];
        await new Promise(requestAnimationFrame);
    } while (performance.now() - since < 300);
    return top;
}"""
