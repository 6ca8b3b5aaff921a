// Keeps something that was read from the API fresh: read again soon after an event says so, and never twice at once.

/** Between two readings. */
const PAUSE_MS = 500;

/**
 * Return a function that asks for another reading.
 * @param {() => Promise<void>} read
 */
export function keepFresh(read, pauseMs = PAUSE_MS) {
  let isReading = false;
  let isDue = false;
  return async function refresh() {
    isDue = true;
    if (isReading) return;
    isReading = true;
    while (isDue) {
      isDue = false;
      try {
        await read();
      } catch {
        // the stream shows that the server is away, and asks again when it is back
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    isReading = false;
  };
}
