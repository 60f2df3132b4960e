// process.send between a parent and its forked child. The argument is the
// serialization: json carries the payload as a string, advanced as a Buffer.
// Lines on stdin and stdout as in floor.c.
'use strict';
const { fork } = require('child_process');
const readline = require('readline');

if (process.argv[3] === 'child') {
  process.on('message', (m) => process.send(m));
  process.on('disconnect', () => process.exit());
} else {
  main();
}

async function main() {
  const serialization = process.argv[2];
  const child = fork(__filename, [serialization, 'child'], { serialization, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value;

  // run keeps n messages under way for ms milliseconds.
  const run = (payload, n, ms) => new Promise((resolve) => {
    const begin = process.hrtime.bigint();
    const until = begin + BigInt(ms) * 1000000n;
    let calls = 0;
    let underWay = n;
    child.removeAllListeners('message');
    child.on('message', (m) => {
      if (m.length !== payload.length) throw new Error('not what was sent');
      calls++;
      if (process.hrtime.bigint() < until) {
        child.send(payload);
      } else if (--underWay === 0) {
        resolve([calls, process.hrtime.bigint() - begin]);
      }
    });
    for (let i = 0; i < n; i++) child.send(payload);
  });

  for (let line = await next(); line !== undefined; line = await next()) {
    const [size, n, warm, ms] = line.split(' ').map(Number);
    const payload = serialization === 'json' ? 'x'.repeat(size) : Buffer.alloc(size, 'x');
    await run(payload, n, warm);
    console.log('warm ' + child.pid);
    await next();
    console.log((await run(payload, n, ms)).join(' '));
    await next();
  }
  child.disconnect();
}
