// Of requests that can overtake each other, the answer to the newest counts.

/** Return a function that notes the start of a request, and returns whether that request is still the newest. */
export function trackNewest() {
  let newest = 0;
  return () => {
    const number = ++newest;
    return () => number === newest;
  };
}
