'use strict';
// Files with promises and streams; arguments are the names of the files to make.
const fs = require('node:fs');
const { mkdtemp, readdir, readFile, rm, stat, writeFile, appendFile, rename } = require('node:fs/promises');
const os = require('node:os');
const path = require('node:path');
const { Transform } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { createHash } = require('node:crypto');
const zlib = require('node:zlib');

async function main(names) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'notes-'));
  try {
    await Promise.all(names.map((name, i) => writeFile(path.join(folder, name), `${name} `.repeat(i + 1))));
    for (const name of (await readdir(folder)).sort()) {
      const file = path.join(folder, name);
      await appendFile(file, '\n✓\n');
      const { size } = await stat(file);
      const hash = createHash('sha256').update(await readFile(file)).digest('hex');
      console.log(`${JSON.stringify(name).padEnd(12)} ${String(size).padStart(3)} ${hash.slice(0, 16)}`);
    }
    const upper = new Transform({
      transform(chunk, encoding, done) {
        done(null, chunk.toString('latin1').toUpperCase());
      },
    });
    const packed = path.join(folder, 'packed.gz');
    await writeFile(path.join(folder, 'long'), 'lorem ipsum '.repeat(20000));
    await pipeline(fs.createReadStream(path.join(folder, 'long')), upper, zlib.createGzip(), fs.createWriteStream(packed));
    const back = zlib.gunzipSync(await readFile(packed)).toString();
    console.log(back.length, back.slice(0, 24), (await stat(packed)).size < 5000);
    await readFile(path.join(folder, 'absent')).catch((error) => console.log(error.code, error.syscall));
  } finally {
    await rm(folder, { recursive: true });
  }
  console.log('folder gone:', !fs.existsSync(folder));
}

main(process.argv.slice(2)).then(async () => {
  fs.writeFileSync('here.tmp', Buffer.from([0x68, 0xc3, 0xa9, 0x0a]));
  await rename('here.tmp', 'here.txt');
  const file = fs.openSync('here.txt', 'r+');
  fs.writeSync(file, 'H', 0);
  fs.closeSync(file);
  console.log(fs.readFileSync('here.txt', 'utf8').trimEnd(), fs.existsSync('here.tmp'));
  fs.unlinkSync('here.txt');
  process.exitCode = 6;
});
