const fs = require("node:fs");
const path = require("node:path");

const n = parseInt(fs.readFileSync(0, "utf8"));
Promise.resolve(n + 1).then((m) => console.log(m, process.argv.slice(2), path.basename(__filename)));
