'use strict';
// Other programs: in one go, as streams, and through a shell.
const { execFileSync, spawn, spawnSync, exec } = require('node:child_process');
const { promisify } = require('node:util');

const words = ['pear', 'Apple', 'fig', 'éclair', 'apple'];
const env = { ...process.env, LC_ALL: 'C' };
console.log(execFileSync('sort', ['-f', '-s'], { input: words.join('\n'), env, encoding: 'utf8' }).trim().split('\n'));

const gone = spawnSync('sh', ['-c', 'echo "$1-$GREETING"; echo trouble >&2; exit 9', 'sh', 'a b'], {
  env: { ...env, GREETING: 'hallo' },
  encoding: 'utf8',
});
console.log(gone.status, gone.stdout, gone.stderr);
const missing = spawnSync('no-such-program-here');
console.log(missing.error.code, missing.status);

function through(command, args, input) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    const parts = [];
    child.stdout.on('data', (part) => parts.push(part));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, text: Buffer.concat(parts).toString() }));
    child.stdin.end(input);
  });
}

async function main() {
  const many = Array.from({ length: 20000 }, (_, i) => (i * 7919) % 20000).join('\n');
  const sorted = await through('sort', ['-n'], many);
  const lines = sorted.text.trim().split('\n');
  console.log(sorted.code, lines.length, lines.every((line, i) => Number(line) === i));

  const [a, b] = await Promise.all([through('cat', [], 'one'), through('sh', ['-c', 'cat; kill -TERM $$'], 'two')]);
  console.log(a, b);

  const error = await promisify(exec)('echo partly; exit 4').catch((e) => e);
  console.log(error.code, JSON.stringify(error.stdout));
  const self = await through(process.execPath, ['-e', 'process.stdin.on("data", d => console.log(d.length))'], 'über');
  console.log('node says', self.text.trim());
}

main().finally(() => console.log('finished'));
