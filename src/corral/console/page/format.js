// Figures and times for people.

import { signal } from "@preact/signals";

/** The time, once a second: what shows how long something takes reads it. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

const GIB = 2 ** 30;

/** @param {number | null} bytes */
export function formatBytes(bytes) {
  if (bytes === null) return "unknown";
  if (bytes >= GIB) return `${(bytes / GIB).toFixed(1)} GiB`;
  if (bytes >= 2 ** 20) return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  if (bytes >= 1024) return `${(bytes / 1024).toFixed(0)} KiB`;
  return `${bytes} B`;
}

/** @param {number} seconds */
export function formatSeconds(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** How long ago something was. @param {string} instant */
export function formatSince(instant) {
  return formatSeconds((now.value - Date.parse(instant)) / 1000);
}

/** When something is expected; empty where that is unknown. @param {string | null} instant */
export function formatUntil(instant) {
  if (instant === null) return "";
  const seconds = (Date.parse(instant) - now.value) / 1000;
  return seconds <= 0 ? "now" : `in ${formatSeconds(seconds)}`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** @param {string} instant */
export function formatClock(instant) {
  return CLOCK.format(new Date(instant));
}

/** @param {string} instant */
export function formatDay(instant) {
  return DAY.format(new Date(instant));
}

/** `attempt_failed` for people. @param {string} word */
export function formatWord(word) {
  return word.replaceAll("_", " ");
}
