#!/usr/bin/env node
// A worker in Node.js with a handful of commands to try a supervisor with.

'use strict';

const {setTimeout: pause} = require('node:timers/promises');
// From a checkout it is two directories up; installed, write require('brood-worker').
const {Worker, CommandError, Progress, Raw} = require('../../worker/node');

const UNITS = {ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60000, h: 3600000};
const w = new Worker();
let calls = 0;

// The milliseconds in 200ms, 2s, 1m30s.
function milliseconds(text = '') {
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  if (!parts.length || parts.map((p) => p[0]).join('') !== text) throw new CommandError('usage', `a duration is 200ms or 2s, got "${text}"`);
  return parts.reduce((sum, [, n, unit]) => sum + n * UNITS[unit], 0);
}

function sleep(text, call) {
  return pause(milliseconds(text), undefined, {signal: call.signal});
}

function counted(name, help, run) {
  w.command(name, help, (call) => {
    calls++;
    return run(call);
  });
}

counted('echo', 'WORDS…: say them again', (call) => {
  try {
    if (call.codec === 'json') return call.args.join(' ');
  } catch { /* it was no list of words */ }
  return new Raw(call.payload, call.codec);
});

counted('sleep', 'DURATION: answer after, say, 200ms', async (call) => {
  await sleep(call.args[0], call);
  return `slept ${call.args[0]}`;
});

counted('count', 'N [DURATION]: the numbers from 1 to N as they come, one each DURATION', async function* (call) {
  const [n, every] = call.args;
  for (let i = 1; i <= Number(n); i++) {
    if (every) await sleep(every, call);
    yield `${i}\n`;
  }
});

counted('work', 'DURATION: be at it that long, and tell how far it is', async function* (call) {
  const steps = 10, duration = milliseconds(call.args[0]);
  for (let step = 0; step < steps; step++) {
    yield new Progress(step, steps, `step ${step + 1}`);
    await pause(duration / steps, undefined, {signal: call.signal});
  }
  yield new Progress(steps, steps, 'done');
  return `worked ${call.args[0]}`;
});

counted('ask', 'TEXT: what the supervisor\'s own command echo answers', async (call) => {
  const answer = await w.call('echo', call.args.join(' '), {signal: call.signal});
  return answer.text;
});

counted('status', 'TEXT: set the worker\'s status line', (call) => { w.status(call.args.join(' ')); });
counted('retire', '[REASON]: ask to be replaced', (call) => { w.retire(call.args[0] ?? 'asked'); });
counted('fail', '[WORDS…]: say no', (call) => { throw new CommandError('asked', call.args.join(' ') || 'failed as asked'); });
counted('pid', 'the process id', () => String(process.pid));
counted('stats', 'calls, uptime and process id, as JSON', () => (
  {calls, uptime_ms: Math.floor(process.uptime() * 1000), pid: process.pid}));

w.main();
