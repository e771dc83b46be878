"""A script for pages, in any browser."""

# Resolves when the page has not moved for 300 ms: the browser scrolls smoothly, and goes on after a swipe. In several
# frames, because a browser that stood still goes on with its movement after the first one.
RESTS = """async () => {
    let top, since, frames;
    do {
        if (scrollY !== top) [top, since, frames] = [scrollY, performance.now(), 0];
        await new Promise(requestAnimationFrame);
        frames += 1;
    } while (performance.now() - since < 300 || frames < 5);
    return top;
}"""
