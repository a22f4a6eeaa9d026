/**
 * Places in a list that people arrange by hand, as text that sorts by code point: between any two there is always another.
 *
 * ```js
 * import { between } from "/sync/position.js";
 *
 * const tasks = db.model("Task").query({ order: "position" });
 * const { rows } = tasks;
 * await db.model("Task").patch({ id: dragged.id, position: between(rows[4]?.position, rows[5]?.position) });
 * ```
 *
 * The rules, which the server's `Position` follows too:
 *
 * 1. Digits are `0`-`9`, `A`-`Z`, `a`-`z`: 62, in the order of their code points, worth 0 to 61.
 * 2. A position is an *integer* and a *fraction* behind it. The first character of the integer, its head, says how many digits follow: `a` one, `b` two,
 *    … `z` 26 for what was appended; `Z` one, `Y` two, … `A` 26 for what was put in front. So integers of either kind sort as text, all with a
 *    capital head before all others. The fraction is any number of digits, and its last is not `0`.
 * 3. The *next* integer: one is added to its digits as to a number. Where all are `z` (61), it is the least one with the next head: the digits are
 *    one more and all `0`, behind a capital one less and all `0`, and behind `Z` it is `a0`. Behind `zzz…` there is none.
 * 4. The one *before*: one is taken away. Where all are `0`, it is the greatest one with the head before: the digits are one less and all `z`, before a
 *    capital one more and all `z`, and before `a0` it is `Zz`. Before `A000…` there is none.
 * 5. The *middle* of two fractions, the second of which may be none, which is then more than all: digit by digit from the left, with `0`
 *    behind the end of the first; x is the first one's digit, y the second one's, or 62 where it is none. Where they are equal the digit is taken, and the next one looked at. Where y is
 *    x + 1, x is taken, and from then on the second is none. Else the digit (x + y) / 2, rounded down, is taken and is the last.
 * 6. *Between* a and b, where a is less than b:
 *    without both `a0`; without b, the integer that is next to a's; without a, the one before b's; with both, the integer next to a's, if
 *    that is less than b's integer; else a's integer with the middle of a's fraction and b's, which is none where b's integer is another. Where by
 *    these rules there is no such integer: a's integer with the middle of a's fraction and none, or b's integer with the middle of an empty fraction
 *    and b's.
 * 7. Behind that comes the *jitter*: digits of which the last is not `0`, or nothing. It is three by chance, so that two who put something in the same place
 *    at once do not get the same position. None of 6 is the beginning of b, so it stays less than b with any jitter.
 * @module
 */

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/**
 * A position between two others.
 *
 * ```js
 * between(); // the first of all
 * between(last.position); // at the end
 * between(undefined, first.position); // in front
 * ```
 * @param {string | null} [before] what it comes after: without it, it is in front
 * @param {string | null} [after] what it comes before: without it, it is at the end
 * @param {string} [jitter] what makes it another than those that others put there: by default three digits by chance
 * @returns {string} sorts between them
 * @throws {RangeError} if one of them is no position, or they are not in order
 */
export function between(before, after, jitter = chance()) {
  const [a, b] = [before ?? undefined, after ?? undefined].map((position) => (position === undefined ? undefined : parse(position)));
  if (a && b && !(/** @type {string} */ (before) < /** @type {string} */ (after))) throw new RangeError(`between: ${before} is not before ${after}`);
  if (!/^[0-9A-Za-z]*(?<!0)$/.test(jitter)) throw new RangeError(`between: ${jitter} is no jitter`);
  return place(a, b) + jitter;
}

/** @typedef {{integer: string, fraction: string}} Parts */

/** @param {Parts} [a] @param {Parts} [b] */
function place(a, b) {
  if (!a && !b) return "a0";
  if (!a) return step(/** @type {Parts} */ (b).integer, -1) ?? /** @type {Parts} */ (b).integer + middle("", /** @type {Parts} */ (b).fraction);
  const next = step(a.integer, 1);
  if (next !== undefined && (!b || next < b.integer)) return next;
  return a.integer + middle(a.fraction, b && b.integer === a.integer ? b.fraction : undefined);
}

/** @param {string} position @returns {Parts} */
function parse(position) {
  const head = position.charCodeAt(0);
  const length = head >= 97 ? head - 95 : 92 - head;
  const [integer, fraction] = [position.slice(0, length), position.slice(length)];
  if (!/^[A-Za-z][0-9A-Za-z]+$/.test(position) || integer.length < length || fraction.endsWith("0")) throw new RangeError(`${position} is no position`);
  return { integer, fraction };
}

/** The integer behind another, or before it. @param {string} integer @param {1 | -1} by @returns {string | undefined} */
function step(integer, by) {
  const [from, to] = by > 0 ? ["z", "0"] : ["0", "z"];
  const kept = integer.slice(1).replace(new RegExp(`${from}+$`), "");
  const carried = to.repeat(integer.length - 1 - kept.length);
  const head = integer[0];
  if (kept) return head + kept.slice(0, -1) + DIGITS[DIGITS.indexOf(kept[kept.length - 1]) + by] + carried;
  if (head === (by > 0 ? "z" : "A")) return undefined;
  if (head === (by > 0 ? "Z" : "a")) return by > 0 ? "a0" : "Zz";
  const isLonger = head >= "a" === by > 0;
  return String.fromCharCode(head.charCodeAt(0) + by) + (isLonger ? carried + to : carried.slice(1));
}

/** What lies between two fractions, and is the beginning of neither. @param {string} first @param {string | undefined} second */
function middle(first, second) {
  let taken = "";
  for (let index = 0; ; index += 1) {
    const x = index < first.length ? DIGITS.indexOf(first[index]) : 0;
    const y = second === undefined ? 62 : DIGITS.indexOf(second[index]);
    if (second !== undefined && y < 0) throw new RangeError("between: there is nothing between them");
    if (y - x > 1) return taken + DIGITS[(x + y) >> 1];
    taken += DIGITS[x];
    if (x !== y) second = undefined;
  }
}

function chance() {
  const [a, b, c] = crypto.getRandomValues(new Uint32Array(3));
  return DIGITS[a % 62] + DIGITS[b % 62] + DIGITS[1 + (c % 61)];
}
