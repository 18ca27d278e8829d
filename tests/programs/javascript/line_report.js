'use strict';
// Reads log lines from standard input and reports on them.
const readline = require('node:readline');

const LINE = /^(?<date>\d{4}-\d\d-\d\d)[ T](?<time>[\d:]{5,8})\s+(?<level>[A-Z]+)\s+(?<text>.*)$/u;
const levels = new Map();
const skipped = [];

function graphemes(text) {
  return [...new Intl.Segmenter('en', { granularity: 'grapheme' }).segment(text)].length;
}

async function main() {
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
  let number = 0;
  let seconds = null;
  for await (const line of lines) {
    number++;
    const match = LINE.exec(line);
    if (!match) {
      skipped.push(`${number}:${JSON.stringify(line)}`);
      continue;
    }
    const { date, time, level, text } = match.groups;
    const at = Date.parse(`${date}T${time.length === 5 ? time + ':00' : time}Z`) / 1000;
    const gap = seconds === null ? 'first' : `+${at - seconds}s`;
    seconds = at;
    levels.set(level, (levels.get(level) ?? 0) + 1);
    const hidden = text.replace(/\b[\w.]+@(\w+)(?:\.\w+)+/g, (_, host) => `<someone at ${host}>`);
    console.log(`${String(number).padStart(2)} ${level.padEnd(5)} ${gap.padStart(8)} ${hidden}`);
    if (/\p{Emoji_Presentation}|\p{M}/u.test(text)) {
      console.log(`   units ${text.length}, points ${[...text].length}, graphemes ${graphemes(text)},`,
        `bytes ${Buffer.byteLength(text)}, NFC ${text.normalize('NFC').length}`);
    }
  }
  console.log('skipped', skipped.join(' ') || 'nothing');
  for (const [level, count] of [...levels].sort()) console.log(level, '*'.repeat(count));
  console.log(new Date(seconds * 1000).toISOString(), [...'straße'.toUpperCase()].reverse().join(''));
}

main();
