import test from 'node:test';
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import {Duplex} from 'node:stream';
import {setTimeout as pause} from 'node:timers/promises';
import {Worker, CommandError, NotSupervised, Progress, Raw, attach, listeners} from '../index.js';
import {CALL, CANCEL, CHUNK, DATA, DRAIN, ERROR, EVENT, HELLO, JSON_, MORE, PING, PONG, READY, RESULT, RETIRE, TEXT, WINDOW, pair, serve} from './peer.mjs';

const wire = createRequire(import.meta.url)('../lib/wire.cjs');
const CREDIT = 262144;

function until() {
  let go;
  const gone = new Promise((resolve) => { go = resolve; });
  return [gone, go];
}

test('both kinds of modules are one', () => {
  const required = createRequire(import.meta.url)('../index.cjs');
  assert.equal(required.Worker, Worker);
  assert.equal(required.CommandError, CommandError);
});

test('what a command returns and throws', async (t) => {
  const {peer} = await serve(t, {
    nothing() {}, text: () => 'hé', bytes: () => new Uint8Array([0, 255]), json: async () => ({a: [1]}), number: () => 7,
    raw: () => new Raw('[1]', 'json'), own() { throw new CommandError('no_key', 'k', {key: 1}); }, plain() { throw new TypeError('bad'); },
    cyclic() { const a = {}; a.a = a; return a; }, huge() { throw new CommandError('c', 'm', 'x'.repeat(CHUNK)); },
  });
  t.mock.method(console, 'error', () => {});
  const want = {nothing: [0, ''], text: [TEXT, 'hé'], bytes: [0, Buffer.from([0, 255])], json: [JSON_, '{"a":[1]}'], number: [JSON_, '7'], raw: [JSON_, '[1]']};
  for (const [name, [codec, payload]] of Object.entries(want)) {
    peer.call(1, name);
    const f = await peer.expect(RESULT, 1);
    assert.deepEqual([f.codec, f.payload], [codec, Buffer.from(payload)], name);
  }
  for (const [name, code, body] of [['own', 'no_key', {message: 'k', started: 'yes', details: {key: 1}}], ['plain', 'error', {message: 'TypeError: bad', started: 'yes'}],
    ['huge', 'c', {message: 'm', started: 'yes'}]]) {
    peer.call(1, name);
    const f = await peer.expect(ERROR, 1);
    assert.deepEqual([f.name, JSON.parse(f.payload)], [code, body]);
  }
  peer.call(1, 'cyclic');
  assert.equal((await peer.expect(ERROR, 1)).name, 'error');
});

test('pings tell how it goes', async (t) => {
  const [gone, go] = until();
  const {w, peer} = await serve(t, {busy: () => gone});
  assert.deepEqual(await peer.alive(), {});
  peer.call(1, 'busy');
  assert.equal((await peer.alive()).inflight, 1);
  w.beat();
  w.status('x');
  await peer.expect(EVENT);
  assert.deepEqual(Object.keys(await peer.alive()), ['inflight', 'oldest_ms', 'beat_ms', 'status']);
  go();
  await peer.expect(RESULT, 1);
});

test('a stream stops at its credit, and its command is told of CANCEL', async (t) => {
  let seen;
  const {peer} = await serve(t, {
    async* flood() {
      try {
        for (;;) yield Buffer.alloc(980);
      } catch (e) {
        seen = e.code;
        throw e;
      }
    },
  });
  peer.call(1, 'flood');
  for (let i = 0; i < Math.floor(CREDIT / 1000); i++) await peer.expect(DATA, 1);
  await peer.alive();
  peer.send(WINDOW, {id: 1, arg: 855});
  await peer.alive();
  peer.send(WINDOW, {id: 1, arg: 1});
  await peer.expect(DATA, 1);
  peer.send(CANCEL, {id: 1});
  assert.deepEqual(await peer.failure(1), ['canceled', 'yes']);
  assert.equal(seen, 'canceled');
});

test('pieces of all kinds', async (t) => {
  let late;
  const {peer} = await serve(t, {
    async* mixed(call) {
      late = call;
      yield new Progress(1, 3, 'begun');
      await call.send({a: 1}, 'note');
      await call.send(Buffer.alloc(CHUNK + 1));
      yield undefined;
      return 'done';
    },
  });
  peer.call(1, 'mixed');
  const got = [];
  for (let i = 0; i < 5; i++) got.push(await peer.expect(DATA, 1));
  assert.deepEqual(got.map((f) => [f.name, f.payload.length]), [['progress', Buffer.from('{"done":1,"total":3,"text":"begun"}').length], ['note', 7], ['', CHUNK], ['', 1], ['', 0]]);
  assert.equal(String((await peer.expect(RESULT, 1)).payload), 'done');
  await assert.rejects(late.send('too late'), /answered/);
});

test('endless credit does not keep it from reading', async (t) => {
  const {peer} = await serve(t, {async* flood() { for (;;) yield 'x'; }});
  peer.call(1, 'flood');
  peer.send(WINDOW, {id: 1, arg: 0x7FFFFFFF - CREDIT});
  peer.send(PING, {arg: 5});
  for (;;) if ((await peer.frame()).type === PONG) break;
  peer.send(CANCEL, {id: 1});
  for (;;) {
    const f = await peer.frame();
    if (f.type === ERROR) return assert.equal(f.name, 'canceled');
  }
});

test('calls of its own', async (t) => {
  const {w, peer, done} = await serve(t, {});
  let answer = w.call('lookup', {key: 1}, {timeout: 60000});
  const call = await peer.expect(CALL, 2);
  assert.deepEqual([call.name, String(call.payload), call.arg], ['lookup', '{"key":1}', 60000]);
  peer.send(DATA, {id: 2, codec: TEXT, payload: 'fo'});
  peer.send(DATA, {id: 2, name: 'progress', codec: JSON_, payload: '{}'});
  peer.send(RESULT, {id: 2, codec: TEXT, payload: 'und'});
  assert.equal((await answer).text, 'found');
  answer = w.call('lookup');
  peer.send(ERROR, {id: (await peer.expect(CALL)).id, name: 'no_key', codec: JSON_, payload: '{"message":"m","details":[1],"started":"no"}'});
  await assert.rejects(answer, (e) => e.code === 'no_key' && e.message === 'm' && e.started === 'no' && e.details[0] === 1);
  const pieces = [];
  answer = w.call('tail', null, {piece: async (p) => { pieces.push(p.name + p.payload.length); }});
  let {id} = await peer.expect(CALL);
  for (let i = 0; i < 3; i++) {
    peer.send(DATA, {id, payload: Buffer.alloc(CHUNK)});
    assert.equal((await peer.expect(WINDOW, id)).arg, 20 + CHUNK);
  }
  peer.send(RESULT, {id, payload: 'end'});
  assert.equal((await answer).text, 'end');
  assert.deepEqual(pieces, ['65536', '65536', '65536']);
  answer = w.call('slow', null, {timeout: 20});
  answer.catch(() => {}); // it is looked at below
  ({id} = await peer.expect(CALL));
  await peer.expect(CANCEL, id);
  await assert.rejects(answer, {code: 'timeout'});
  peer.send(DATA, {id, payload: 'dropped'});
  peer.send(ERROR, {id, name: 'canceled'});
  const control = new AbortController();
  answer = w.call('slow', null, {signal: control.signal});
  answer.catch(() => {});
  ({id} = await peer.expect(CALL));
  control.abort(new Error('enough'));
  await assert.rejects(answer, /enough/);
  await peer.expect(CANCEL, id);
  answer = w.call('long', Buffer.alloc(200000));
  let size = 0;
  for (let f; !f || f.flags & MORE;) {
    f = await peer.expect(CALL);
    size += f.payload.length;
  }
  assert.equal(size, 200000);
  peer.socket.destroy();
  await assert.rejects(answer, {code: 'lost', started: 'unknown'});
  assert.equal(await done, null);
  assert.throws(() => w.event('two words'), TypeError);
  await assert.rejects(w.call('late'), {code: 'lost', started: 'no'});
});

test('a call takes what timeLeft says', async (t) => {
  const {w, peer} = await serve(t, {});
  for (const timeout of [0, -1, -Infinity]) await assert.rejects(w.call('over', null, {timeout}), {code: 'timeout', started: 'no'});
  for (const timeout of [NaN, null, '5']) assert.throws(() => w.call('never', null, {timeout}), TypeError);
  for (const [timeout, arg] of [[undefined, 0], [Infinity, 0], [2 ** 31, 2 ** 31], [2 ** 40, 0xFFFFFFFF], [0x7FFFFFFF - 0.5, 0x7FFFFFFF]]) {
    const answer = w.call('long', null, {timeout});
    answer.catch(() => {}); // it is looked at below
    const {id, arg: said} = await peer.expect(CALL); // so nothing came of those above
    assert.equal(said, arg, String(timeout));
    await pause(10); // a timer that took the number for none would have fired before this one
    peer.send(RESULT, {id, codec: TEXT, payload: 'there'});
    assert.equal((await answer).text, 'there', String(timeout));
  }
  const timers = [];
  const mocked = t.mock.method(globalThis, 'setTimeout', (f, ms) => {
    timers.push([f, ms]);
    return {};
  });
  const answer = w.call('longer', null, {timeout: 0x7FFFFFFF + 5}).catch((e) => e);
  timers[0][0]();
  timers[1][0]();
  mocked.mock.restore();
  assert.deepEqual(timers.map(([, ms]) => ms), [0x7FFFFFFF, 5]);
  assert.equal((await answer).code, 'timeout');
});

// A worker whose writes take until go is called, and what was written.
function stalled(t) {
  const written = [];
  let waiting;
  const socket = new Duplex({read() {}, write(bytes, _, done) { written.push(bytes); waiting = done; }});
  const w = new Worker({socket});
  const done = w.run().then(() => null, (e) => e);
  t.after(async () => {
    socket.destroy();
    await done;
  });
  const go = async () => {
    while (waiting) {
      const finished = waiting;
      waiting = null;
      finished();
      await new Promise(setImmediate);
    }
    const frames = [];
    const b = Buffer.concat(written.splice(0));
    for (let at = 0, f; at < b.length; at += f.size) frames.push(f = wire.parse(b, at));
    return frames;
  };
  return {w, go};
}

test('a call that is given up before it was sent is not sent', async (t) => {
  const {w, go} = stalled(t); // HELLO is being written
  const control = new AbortController();
  const kept = w.call('kept', 'k');
  kept.catch(() => {}); // it is lost in the end
  const late = w.call('late', Buffer.alloc(100), {timeout: 5});
  const long = w.call('long', Buffer.alloc(2 * CHUNK), {timeout: 5});
  const aborted = w.call('aborted', '', {signal: control.signal});
  control.abort(new Error('enough'));
  await assert.rejects(aborted, /enough/);
  await assert.rejects(late, {code: 'timeout', started: 'no'});
  await assert.rejects(long, {code: 'timeout', started: 'no'});
  assert.deepEqual((await go()).map((f) => [f.type, f.name]), [[HELLO, ''], [READY, ''], [CALL, 'kept']]);
});

test('events are bounded with their headers', async (t) => {
  const {w, go} = stalled(t);
  const count = (worker) => {
    let n = 0;
    while (n < 20000 && worker.event('log')) n++;
    return n;
  };
  const most = Math.floor((256 << 10) / 23);
  assert.equal(count(w), most);
  assert.equal((await go()).length, 2 + most);
  await go(); // what is given out makes room
  assert.ok(w.event('log', 'x'.repeat(1000)));
  await go();
  const again = count(w);
  assert.ok(again >= most && again < 2 * most, `room for ${again} of ${most}`);
  const [early, peer] = await pair();
  t.after(() => peer.socket.destroy());
  assert.equal(count(early), most);
});

test('RETIRE is said once', async (t) => {
  const {w, peer} = await serve(t, {});
  for (let i = 0; i < 10000; i++) w.retire('memory', 'more of it than there is');
  await peer.expect(RETIRE);
  await peer.alive();
});

test('data beyond its credit', async (t) => {
  const {w, peer, done} = await serve(t, {});
  const answer = w.call('x', null, {piece: () => new Promise(() => {})});
  const {id} = await peer.expect(CALL);
  for (let i = 0; i < 4; i++) peer.send(DATA, {id, payload: Buffer.alloc(CHUNK - 20)});
  await peer.alive();
  peer.send(DATA, {id});
  assert.equal((await done).rule, 'credit');
  await assert.rejects(answer, {code: 'lost'});
});

test('short messages overtake a long one, and it comes behind its own pieces', async (t) => {
  const {peer} = await serve(t, {
    long: () => Buffer.alloc(8 << 20), quick: () => 'now',
    async* both() { for (let i = 0; i < 3; i++) yield Buffer.alloc(50000); return Buffer.alloc(1 << 20); },
  });
  peer.call(1, 'long');
  peer.call(3, 'quick');
  let frames = 0, at = 0;
  for (let f; !f || f.type !== RESULT || f.id !== 1 || f.flags & MORE; frames++) {
    f = await peer.frame();
    if (f.id === 3) at = frames;
  }
  assert.ok(at < 20, `it was frame ${at} of ${frames}`);
  peer.call(5, 'both');
  for (let i = 0; i < 3; i++) await peer.expect(DATA, 5);
  while ((await peer.expect(RESULT, 5)).flags & MORE);
});

test('drain, and its grace', async (t) => {
  const [gone, go] = until();
  let told = false;
  const {w, peer, done} = await serve(t, {
    busy: () => gone,
    patient: (call) => new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason))),
  });
  w.onDrain(() => { told = true; });
  peer.call(1, 'busy');
  peer.call(3, 'patient');
  peer.send(DRAIN, {arg: 10});
  assert.deepEqual(await peer.failure(3), ['canceled', 'yes']);
  peer.call(5, 'busy');
  assert.deepEqual(await peer.failure(5), ['unavailable', 'no']);
  assert.ok(told && w.draining);
  go();
  await peer.expect(RESULT, 1);
  assert.equal(await peer.frame(), null);
  assert.equal(await done, null);
});

test('answers that are never read', async (t) => {
  const {peer, done} = await serve(t, {});
  peer.socket.pause();
  const pings = Buffer.concat(Array(1000).fill(Buffer.from('bd01030000000000000000000000000000000000', 'hex')));
  for (let i = 0; i < 300 && !peer.over; i++) await new Promise((r) => { peer.socket.write(pings, r); });
  const error = await done;
  assert.equal(error.rule, 'unread');
});

test('events before the start, and retire', async (t) => {
  const [w, peer] = await pair();
  assert.ok(w.status('warming up'));
  const done = w.run();
  t.after(() => peer.socket.destroy());
  assert.deepEqual([(await peer.frame()).type, (await peer.frame()).type, (await peer.frame()).type], [HELLO, EVENT, READY]);
  w.retire('memory', '512 MiB');
  const f = await peer.expect(RETIRE);
  assert.deepEqual([f.name, String(f.payload)], ['memory', '{"text":"512 MiB"}']);
  peer.socket.destroy();
  await done;
});

test('names, and too late', async (t) => {
  const {w} = await serve(t, {echo: () => ''});
  assert.throws(() => w.command('late', () => ''), /before/);
  const [other, peer] = await pair();
  t.after(() => peer.socket.destroy());
  for (const name of ['two words', 'é', 'a'.repeat(256), '']) assert.throws(() => other.command(name, () => ''), TypeError);
  assert.throws(() => new CommandError('two words'), TypeError);
  other.command('talkative', 'x'.repeat(CHUNK), () => '');
  assert.throws(() => other.start(), RangeError);
});

test('not a worker', () => {
  const refused = (value, saying) => {
    const environ = value === undefined ? {} : {BROOD_FD: value};
    assert.throws(() => attach(environ), (e) => e instanceof NotSupervised && saying.test(e.message), value);
    assert.deepEqual(environ, {});
  };
  refused(undefined, /brood run/);
  for (const value of ['', '3', '0:5', '2:5', '3:', ':3', '-1:5', '3:5 ', '3:5:7', '9999999999:1']) refused(value, /<fd>:<inode>/);
  refused('999:1', /EBADF/);
  const fd = fs.openSync('/dev/null');
  refused(`${fd}:${fs.fstatSync(fd).ino}`, /another file/);
  fs.closeSync(fd);
  const alone = spawnSync(process.execPath, ['-e', 'new (require("./index.cjs").Worker)()'], {cwd: new URL('..', import.meta.url), env: {}});
  assert.match(String(alone.stderr), /NotSupervised: BROOD_FD is not set/);
});

test('listeners', () => {
  assert.deepEqual(listeners({LISTEN_PID: '1', LISTEN_FDS: '1'}), {});
  const environ = {LISTEN_PID: String(process.pid), LISTEN_FDS: '2', LISTEN_FDNAMES: 'http:'};
  assert.deepEqual(listeners(environ), {http: 3, 1: 4});
  assert.deepEqual(environ, {});
});

