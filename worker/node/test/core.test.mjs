// The core by itself: bytes in, bytes out.

import test from 'node:test';
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {CALL, CANCEL, CHUNK, ERROR, GREETING, HELLO, JSON_, MORE, PING, RESULT, pack} from './peer.mjs';

const wire = createRequire(import.meta.url)('../lib/wire.cjs');
const {Core, Own} = createRequire(import.meta.url)('../lib/core.cjs');

function core(host = {}, commands = new Map()) {
  const made = new Core(host, commands, {maxInflight: 64, maxMessage: wire.MAX_MESSAGE, sdk: ''});
  made.outgoing();
  return made;
}

// The frames of the next write.
function frames(core) {
  const b = Buffer.concat(core.outgoing()), all = [];
  for (let at = 0, f; at < b.length; at += f.size) all.push(f = wire.parse(b, at));
  return all;
}

function ask(core, name, payload = '') {
  const own = new Own(() => {}, (outcome) => { own.outcome = outcome; });
  core.call(own, name, 0, Buffer.from(payload), 0);
  return own;
}

test('CANCEL follows the last frame of its call', () => {
  const c = core();
  c.receive(GREETING);
  const whole = ask(c, 'whole');
  assert.deepEqual(frames(c).map((f) => f.name), ['whole']);
  c.abandon(whole);
  c.abandon(whole);
  assert.deepEqual(frames(c).map((f) => [f.type, f.id]), [[CANCEL, 2]]);
  c.receive(pack(ERROR, {id: 2, name: 'canceled'}));
  assert.equal(whole.outcome.error.code, 'canceled');

  const begun = ask(c, 'begun', Buffer.alloc(3 * CHUNK));
  assert.deepEqual(frames(c).map((f) => [f.type, f.flags]), [[CALL, MORE]]);
  c.abandon(begun);
  const rest = [];
  for (let batch; (batch = frames(c)).length;) rest.push(...batch);
  assert.deepEqual(rest.map((f) => [f.type, f.id, f.flags]), [[CALL, 4, MORE], [CALL, 4, MORE], [CALL, 4, 0], [CANCEL, 4, 0]]);
  c.receive(pack(RESULT, {id: 4}));

  for (const size of [0, 3 * CHUNK]) {
    c.abandon(ask(c, 'unseen', Buffer.alloc(size)));
    assert.deepEqual(frames(c), []);
  }
});

test('a call is answered only when it was given out whole', () => {
  for (const [size, batches] of [[0, 0], [3 * CHUNK, 1]]) {
    const c = core();
    c.receive(GREETING);
    ask(c, 'x', Buffer.alloc(size));
    for (let i = 0; i < batches; i++) frames(c);
    assert.throws(() => c.receive(pack(RESULT, {id: 2})), {rule: 'answer'});
  }
});

test('its own CANCELs are not the peer\'s unread answers', () => {
  const c = core();
  c.receive(pack(HELLO, {codec: JSON_, payload: '{"max_inflight":65536}'}));
  const calls = Array.from({length: 14000}, () => ask(c, 'x'));
  let sent = 0;
  for (let batch; (batch = frames(c)).length;) sent += batch.length;
  assert.equal(sent, calls.length);
  for (const own of calls) c.abandon(own);
  for (let i = 0; i < 2; i++) c.receive(pack(PING, {arg: 1}));
  assert.equal(frames(c).length, calls.length + 2);
});

test('nothing is done for what came behind the end', () => {
  let begun = 0;
  const host = {
    begin() {
      begun++;
      c.end(null);
    },
    stop() {}, room() {}, settled() {},
  };
  const c = core(host, new Map([['end', {}]]));
  c.receive(Buffer.concat([GREETING, pack(CALL, {id: 1, name: 'end'}), pack(CALL, {id: 3, name: 'end'}), Buffer.from('junk')]));
  assert.equal(begun, 1);
});

test('HELLO is held to its types', () => {
  const hello = (text) => () => core().receive(pack(HELLO, {codec: JSON_, payload: text}));
  for (const limit of ['max_message', 'max_inflight', 'chunk', 'fds', 'protocol']) {
    for (const value of ['false', 'true', '""', '"70000"', '{}', '1.5', ...(limit === 'protocol' ? ['0', '["1",1]', '[1,false]'] : ['[]'])]) {
      assert.throws(hello(`{"${limit}":${value}}`), {rule: 'json', offset: 20}, `${limit} ${value}`);
    }
    hello(`{"${limit}":null}`)();
    if (limit !== 'protocol') hello(`{"${limit}":0}`)();
  }
  for (const versions of ['[0,0]', '[2,3]', '[1,1,7]', '[1]', '[]']) assert.throws(hello(`{"protocol":${versions}}`), {rule: 'hello', offset: 20}, versions);
  hello('{"protocol":[0,2],"max_message":1,"chunk":65536}')();
});
