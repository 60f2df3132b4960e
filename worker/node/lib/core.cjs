'use strict';
// The worker's end of a connection as a machine: bytes in, bytes out, no I/O. It
// keeps the rules of docs/protocol.md, the calls of both ends, their time and their
// credit, and what waits to be written; it tells a host what to do.

const wire = require('./wire.cjs');
const {CommandError, errorPayload} = require('./message.cjs');
const {HELLO, PING, PONG, CALL, DATA, RESULT, ERROR, CANCEL, WINDOW, EVENT, DRAIN, READY, RETIRE, MORE, CHUNK, CREDIT, EMPTY,
  HEADER, MAX_MESSAGE, SHAPES, broke, cost, encode} = wire;

const LANE = 256 << 10; // bytes of short frames, of events, and of pieces, that may wait to be written
const GRANT = 64 << 10; // bytes of pieces dealt with that are worth a WINDOW; what is left has room for any piece

/** A call of ours. data is given each piece, end the one outcome: {error} or {codec, payload}. */
class Own {
  constructor(data, end) {
    this.id = 0;
    this.data = data;
    this.end = end;
    this.credit = CREDIT;
    this.owed = 0; // bytes of pieces dealt with and not granted again
    this.offered = false; // bytes of it were given out to be written
    this.whole = false; // all of them were
    this.abandoned = false; // CANCEL is sent, or follows its last frame; what comes is dropped
  }
}

/**
 * The host has begin(request), stop(request), room(), drainBegins() and settled();
 * a request has id, command, codec, payload and deadline.
 */
class Core {
  constructor(host, commands, {maxInflight, maxMessage, sdk}) {
    this.host = host;
    this.commands = commands;
    this.maxInflight = maxInflight;
    this.maxMessage = maxMessage;
    this.ended = false;
    this.draining = false;
    this.failure = null; // what ended the connection; null: end of file
    this.status = '';
    this.beat = 0; // of performance.now; 0: never
    this.nextDeadline = Infinity; // the earliest, or earlier than that
    this._graceEnds = Infinity; // then a drain cancels what is still open
    this._ready = this._retired = false;
    // What came in.
    this._greeted = false;
    this._read = 0; // bytes before those held
    this._held = []; // pieces of the beginning of a frame
    this._heldSize = 0;
    this._need = 0; // bytes that must be held before there is more to see
    this._partial = null; // the one message that is coming in pieces
    // The calls, theirs and ours, until their last frame is given out or has come.
    this.open = new Map();
    this._own = new Map();
    this._nextID = 2;
    // What goes out.
    this._urgent = [];
    this._urgentSize = 0;
    this._askedSize = 0; // bytes among them that answer what came
    this._short = []; // each fits one frame
    this._long = [];
    this._seq = 0;
    this._eventsSize = 0;
    this._piecesSize = 0;
    this.peerMax = MAX_MESSAGE;
    this.peerChunk = CHUNK;
    this.peerInflight = 64;
    this._hello(sdk);
  }

  _hello(sdk) {
    const commands = [...this.commands].map(([name, {help}]) => ({name, help}));
    const payload = Buffer.from(JSON.stringify({
      protocol: [1, 1], pid: process.pid, sdk, commands, max_message: this.maxMessage, max_inflight: this.maxInflight, chunk: CHUNK,
    }));
    if (payload.length > CHUNK) throw new RangeError(`the help texts make a HELLO of ${payload.length} bytes, at most ${CHUNK} fit`);
    this._push(encode({type: HELLO, codec: wire.JSON, payload}));
  }

  // What goes out.

  /** What to write now: a list of buffers, empty if there is nothing. */
  outgoing() {
    const parts = this._urgent;
    let size = this._urgentSize;
    this._urgent = [];
    this._urgentSize = this._askedSize = 0;
    while (size < CHUNK) {
      const queue = this._queue(size);
      if (queue === null) break;
      const m = queue[0];
      const frame = this._frame(m);
      parts.push(frame);
      size += frame.length;
      if (m.type === CALL) this._offered(m, parts);
      if (m.whole) {
        queue.shift();
        this._written(m);
      }
    }
    return parts;
  }

  // A frame of a call of ours is given out. The CANCEL of one that was given up
  // meanwhile goes behind its last.
  _offered(m, parts) {
    const own = this._own.get(m.id);
    own.offered = true;
    own.whole = m.whole;
    if (own.whole && own.abandoned) parts.push(encode({type: CANCEL, id: own.id}));
  }

  // Whose turn it is: short messages go ahead of long ones, but not without end. A
  // long one does not begin before what was queued earlier: its call's pieces are
  // among that.
  _queue(size) {
    if (!this._long.length) return this._short.length ? this._short : null;
    const first = this._long[0];
    if (!this._short.length || (size >= CHUNK / 2 && (first.sent || this._short[0].seq > first.seq))) return this._long;
    return this._short;
  }

  _frame(m) {
    const name = m.sent ? '' : m.name;
    const end = Math.min(m.payload.length, m.sent + this.peerChunk - name.length);
    const payload = m.payload.subarray(m.sent, end);
    const arg = m.sent ? 0 : m.arg;
    m.sent = end;
    m.whole = end === m.payload.length;
    return encode({type: m.type, id: m.id, arg, codec: m.codec, name, payload, flags: m.whole ? 0 : MORE});
  }

  // The last of a message is given out.
  _written(m) {
    if (m.type === DATA) {
      this._piecesSize -= cost(m.name, m.payload);
      this.host.room();
    } else if (m.type === EVENT) {
      this._eventsSize -= cost(m.name, m.payload);
    } else if (m.type !== CALL) { // the peer may use the id again
      this.open.delete(m.id);
      this._settle();
    }
  }

  _send(type, id, codec, name, payload, arg = 0) {
    const m = {type, id, codec, name, payload, arg, sent: 0, whole: false, seq: ++this._seq};
    (name.length + payload.length <= this.peerChunk ? this._short : this._long).push(m);
  }

  // Queue a short frame ahead of all messages.
  _push(frame) {
    this._urgent.push(frame);
    this._urgentSize += frame.length;
  }

  // Queue a short answer to what came; of those a peer that does not read has only so many.
  _reply(frame) {
    if (this._askedSize && this._askedSize + frame.length > LANE) {
      broke('unread', 0, `${this._askedSize} bytes of answers wait and the peer reads none`);
    }
    this._askedSize += frame.length;
    this._push(frame);
  }

  ready() {
    if (!this._ready && !this.ended) this._push(encode({type: READY}));
    this._ready = true;
  }

  /** Queue an event; false: dropped. */
  event(name, codec, payload) {
    const size = cost(name, payload);
    if (this.ended || this._eventsSize + size > LANE) return false;
    this._eventsSize += size;
    this._send(EVENT, 0, codec, name, payload);
    return true;
  }

  retire(reason, text) {
    if (this.ended || this._retired) return;
    this._retired = true;
    const payload = text ? Buffer.from(JSON.stringify({text: text.slice(0, 8192)})) : EMPTY;
    this._push(encode({type: RETIRE, codec: text ? wire.JSON : wire.BYTES, name: reason, payload}));
  }

  /** Take no new calls; the host is told when the open ones are done. */
  drain() {
    if (!this.draining) {
      this.draining = true;
      this.host.drainBegins();
    }
    this._settle();
  }

  _settle() {
    if (this.draining && !this.open.size) this.host.settled();
  }

  /** End the connection, once: nothing is given out any more and every open call ends. */
  end(failure) {
    if (this.ended) return;
    this.ended = true;
    this.failure = failure;
    const stopped = [...this.open.values()], own = [...this._own.values()];
    this.open.clear();
    this._own.clear();
    this._urgent = [];
    this._urgentSize = this._askedSize = 0;
    this._short = [];
    this._long = [];
    this._held = [];
    this._partial = null;
    for (const request of stopped) {
      request.stopped = true;
      this.host.stop(request);
    }
    for (const call of own) {
      call.end({error: new CommandError('lost', 'the connection has ended', undefined, call.offered ? 'unknown' : 'no')});
    }
    this.host.room();
  }

  // What comes in.

  /** Act on bytes as they came. Throws ProtocolError. */
  receive(data) {
    let b = data;
    if (this._heldSize) {
      this._held.push(data);
      this._heldSize += data.length;
      if (this._heldSize < this._need) return;
      b = Buffer.concat(this._held, this._heldSize);
      this._held = [];
      this._heldSize = 0;
    }
    let at = 0;
    try {
      for (let frame; (frame = wire.parse(b, at)) !== null; at += frame.size) {
        this._act(frame);
        if (this.ended) return;
      }
    } catch (e) {
      if (e instanceof wire.ProtocolError) e.offset += this._read + at;
      throw e;
    }
    this._read += at;
    const left = b.length - at;
    if (left) { // a piece in memory of its own, so that a large buffer is not kept for it
      this._held = [Buffer.from(b.subarray(at))];
      this._heldSize = left;
      this._need = left < HEADER ? 0 : HEADER + b.readUInt32BE(at + 4);
    }
  }

  _act(f) {
    if (!this._greeted && f.type !== HELLO) broke('hello-first', 2, `the first frame is HELLO, got type ${f.type}`);
    if (f.nfds) broke('fds', 18, `${f.nfds} descriptors, none are accepted`);
    const shape = SHAPES[f.type];
    if (!shape) return;
    if (shape.from === 'worker') broke('direction', 2, `type ${f.type} is not the supervisor's to send`);
    switch (f.type) {
      case CALL: case RESULT: return this._takePart(f);
      case PING: return this._reply(this._pong(f.arg));
      case CANCEL: {
        const request = this.open.get(f.id);
        if (request && !request.stopped) this._stop(request, 'canceled');
        return;
      }
      case WINDOW: return this._takeWindow(f);
      case DATA: return this._takeData(f);
      case ERROR: return this._takeError(f);
      case HELLO: return this._takeHello(f);
      case PONG: object(f); return;
      case DRAIN:
        if (f.arg) {
          this._graceEnds = performance.now() + f.arg;
          this.nextDeadline = Math.min(this.nextDeadline, this._graceEnds);
        }
        return this.drain();
    }
  }

  _takeHello(f) {
    if (this._greeted) broke('hello', 2, 'HELLO comes once');
    if (!f.payload.length) broke('hello', 4, 'HELLO carries JSON');
    const h = object(f);
    const said = [h.max_message, h.max_inflight, h.chunk, h.fds], defaults = [MAX_MESSAGE, 64, CHUNK, 0];
    const limits = said.map((limit, i) => (limit ?? 0) === 0 ? defaults[i] : limit);
    const protocol = h.protocol ?? [1, 1];
    if (!Array.isArray(protocol) || ![...limits, ...protocol].every(Number.isInteger)) {
      broke('json', HEADER, 'HELLO: a limit or a version that is not a number');
    }
    if (protocol.length !== 2 || protocol[0] > 1 || protocol[1] < 1) broke('hello', HEADER, `it speaks versions ${protocol}, this end speaks 1`);
    if (Math.min(...limits) < 0 || limits[2] < CHUNK || limits[3] > 16) broke('hello', HEADER, `limits ${limits}`);
    [this.peerMax, this.peerInflight] = limits;
    this.peerChunk = Math.min(limits[2], 1 << 20);
    this._greeted = true;
  }

  // Put a CALL or a RESULT together. One at a time may be unfinished, so what a peer
  // can fill is bounded.
  _takePart(f) {
    const more = f.flags & MORE, p = this._partial;
    if (p && p.id === f.id && p.type === f.type) {
      if (f.name || f.arg || f.codec !== p.codec) broke('continuation', 12, 'the next frame of a message has its type, id and codec only');
      if (p.size + f.payload.length > this.maxMessage) broke('message', 4, `a message longer than ${this.maxMessage} bytes`);
      p.add(f.payload);
      if (!more) {
        this._partial = null;
        this._takeMessage(p, p.join());
      }
      return;
    }
    if (f.type === CALL) this._checkCall(f);
    else this._asked(f.id);
    if (!more) return this._takeMessage(f, f.payload);
    if (p) broke('interleave', 3, `message ${f.id} begins before another is whole`);
    this._partial = new Partial(f);
  }

  _checkCall(f) {
    if (!f.name) broke('name', 16, 'CALL needs a name');
    if (f.id % 2 === 0) broke('call-id', 8, `the supervisor's calls have odd ids, got ${f.id}`);
    if (this.open.has(f.id)) broke('call-id', 8, `call ${f.id} is still open`);
  }

  _takeMessage(first, payload) {
    if (first.type === RESULT) {
      const own = this._asked(first.id);
      this._own.delete(first.id);
      return own.end({codec: first.codec, payload: Buffer.from(payload)});
    }
    if (this.open.has(first.id)) broke('call-id', 8, `call ${first.id} is still open`);
    const refusal = this._refusal(first.name);
    if (refusal) {
      return this._reply(encode({type: ERROR, id: first.id, codec: wire.JSON, name: refusal[0], payload: errorPayload(refusal[0], refusal[1], 'no')}));
    }
    const now = performance.now();
    const request = {
      id: first.id, command: first.name, codec: first.codec, payload: Buffer.from(payload), received: now,
      deadline: first.arg ? now + first.arg : Infinity, credit: CREDIT, answered: false, stopped: false, why: 'canceled',
    };
    this.open.set(first.id, request);
    this.nextDeadline = Math.min(this.nextDeadline, request.deadline);
    this.host.begin(request);
  }

  _refusal(command) {
    if (this.draining) return ['unavailable', 'draining'];
    if (this.open.size >= this.maxInflight) return ['overloaded', `${this.open.size} calls are at work`];
    if (!this.commands.has(command)) return ['unknown_command', `there is no command ${command} here`];
    return null;
  }

  _takeWindow(f) {
    const request = this.open.get(f.id);
    if (!request) return;
    if (request.credit + f.arg > wire.MAX_CREDIT) broke('window', 12, `the credit of call ${f.id} would be ${request.credit + f.arg} bytes`);
    request.credit += f.arg;
    this.host.room();
  }

  // The call of ours that something is said for: it was given out whole and is not answered.
  _asked(id) {
    const own = this._own.get(id);
    if (!own?.whole) broke('answer', 8, `an answer to call ${id}, which is not open`);
    return own;
  }

  _takeData(f) {
    const own = this._asked(f.id);
    own.credit -= cost(f.name, f.payload);
    if (own.credit < 0) broke('credit', 4, `${-own.credit} bytes of pieces beyond the credit of call ${f.id}`);
    if (!own.abandoned) own.data(f.name, f.codec, Buffer.from(f.payload));
  }

  _takeError(f) {
    if (!f.name) broke('name', 16, 'ERROR needs a name');
    const {message = '', details, started = 'unknown'} = object(f);
    if (typeof message !== 'string' || typeof started !== 'string') broke('json', HEADER + f.name.length, 'ERROR: message and started are strings');
    const own = this._asked(f.id);
    this._own.delete(f.id);
    own.end({error: new CommandError(f.name === 'lost' ? 'error' : f.name, message, details, started)});
  }

  _pong(token) {
    const says = {}, now = performance.now();
    if (this.open.size) {
      says.inflight = this.open.size;
      says.oldest_ms = Math.floor(now - this.open.values().next().value.received);
    }
    if (this.beat) says.beat_ms = Math.floor(now - this.beat);
    if (this.status) says.status = this.status;
    if (!this.open.size && !this.beat && !this.status) return encode({type: PONG, arg: token});
    return encode({type: PONG, arg: token, codec: wire.JSON, payload: Buffer.from(JSON.stringify(says))});
  }

  // The supervisor's calls.

  /** Cancel what is out of time, and find the next that will be. Call it when nextDeadline is past. */
  expire() {
    const now = performance.now();
    this.nextDeadline = Infinity;
    for (const request of [...this.open.values()]) {
      if (request.stopped || request.answered) continue;
      const ends = Math.min(request.deadline, this._graceEnds);
      if (ends <= now) this._stop(request, ends === request.deadline ? 'timeout' : 'canceled');
      else this.nextDeadline = Math.min(this.nextDeadline, ends);
    }
  }

  _stop(request, why) {
    if (request.answered) return;
    request.why = why;
    request.stopped = true;
    this.host.stop(request);
  }

  /** Queue the RESULT of a call. */
  answer(request, codec, payload) {
    if (this.ended || request.answered) return;
    if (payload.length > this.peerMax) {
      return this.fail(request, 'too_large', `the answer is ${payload.length} bytes, ${this.peerMax} are accepted`);
    }
    request.answered = true;
    this._send(RESULT, request.id, codec, '', payload);
  }

  /** Queue the ERROR of a call. */
  fail(request, code, message, details, started = 'yes') {
    if (this.ended || request.answered) return;
    request.answered = true;
    this._send(ERROR, request.id, wire.JSON, code, errorPayload(code, message, started, details));
  }

  /** Queue a DATA of a call; false: there is no credit or no room for it now, the host will hear of it. */
  piece(request, name, codec, payload) {
    if (request.answered) throw new Error(`call ${request.id} is answered: nothing more can be sent for it`);
    if (request.stopped || this.ended) throw new CommandError(request.why, 'stopped at the caller\'s word');
    const size = name.length + payload.length, takes = cost(name, payload);
    if (size > CHUNK) throw new RangeError(`a piece of ${size} bytes, at most ${CHUNK} fit`);
    if (takes > request.credit || (this._piecesSize && this._piecesSize + takes > LANE)) return false;
    request.credit -= takes;
    this._piecesSize += takes;
    this._send(DATA, request.id, codec, name, payload);
    return true;
  }

  // Our own calls.

  /** Queue a CALL. own hears of what comes of it. */
  call(own, command, codec, payload, milliseconds) {
    if (this.ended) throw new CommandError('lost', 'the connection has ended', undefined, 'no');
    if (payload.length > this.peerMax) throw new CommandError('too_large', `${payload.length} bytes, ${this.peerMax} are accepted`, undefined, 'no');
    if (this._own.size >= this.peerInflight) throw new CommandError('overloaded', `${this._own.size} calls are open`, undefined, 'no');
    do {
      own.id = this._nextID;
      this._nextID = own.id < 0xFFFFFFFE ? own.id + 2 : 2;
    } while (this._own.has(own.id));
    this._own.set(own.id, own);
    this._send(CALL, own.id, codec, command, payload, milliseconds);
  }

  /**
   * Give a call up: CANCEL follows its last frame, and nothing is heard of it any
   * more but its end. If nothing of it was given out it is withdrawn.
   */
  abandon(own) {
    if (this._own.get(own.id) !== own || own.abandoned) return;
    own.abandoned = true;
    if (own.whole) this._push(encode({type: CANCEL, id: own.id}));
    else if (!own.offered) this._withdraw(own);
  }

  _withdraw(own) {
    this._own.delete(own.id);
    for (const queue of [this._short, this._long]) {
      const i = queue.findIndex((m) => m.type === CALL && m.id === own.id);
      if (i >= 0) queue.splice(i, 1);
    }
  }

  /** Give credit for pieces of so many bytes that were dealt with. */
  grant(own, size) {
    own.owed += size;
    if (own.owed < GRANT || this._own.get(own.id) !== own || own.abandoned) return;
    own.credit += own.owed;
    this._reply(encode({type: WINDOW, id: own.id, arg: own.owed}));
    own.owed = 0;
  }
}

/** The one message that is coming in pieces, in a buffer that doubles. */
class Partial {
  constructor(f) {
    ({type: this.type, id: this.id, codec: this.codec, name: this.name, arg: this.arg} = f);
    this.size = 0;
    this._buffer = Buffer.allocUnsafe(256 << 10);
    this.add(f.payload);
  }

  add(b) {
    if (this.size + b.length > this._buffer.length) {
      const larger = Buffer.allocUnsafe(2 * this._buffer.length);
      this._buffer.copy(larger, 0, 0, this.size);
      this._buffer = larger;
    }
    this._buffer.set(b, this.size);
    this.size += b.length;
  }

  join() { return this._buffer.subarray(0, this.size); }
}

function object(f) {
  if (!f.payload.length) return {};
  let value;
  try {
    value = JSON.parse(f.payload.toString());
  } catch (e) {
    broke('json', HEADER + f.name.length, `type ${f.type}: ${e.message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) broke('json', HEADER + f.name.length, `type ${f.type}: not an object`);
  return value;
}

module.exports = {Core, Own, LANE};
