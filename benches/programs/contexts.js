// Measures Node's vm contexts; prints JSON.
const vm = require("vm");
let best = Infinity;
for (let round = 0; round < 30; round++) {
  const start = process.hrtime.bigint();
  vm.runInContext("1 + 1", vm.createContext({}));
  best = Math.min(best, Number(process.hrtime.bigint() - start) / 1e9);
}
console.log(JSON.stringify({ context: best }));
