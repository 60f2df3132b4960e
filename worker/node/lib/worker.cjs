'use strict';
// This process as a worker: the core, its socket, and the program's functions.

const {Core, LANE, Own} = require('./core.cjs');
const {attach, listeners, NotSupervised} = require('./attach.cjs');
const {CommandError, Raw, Message, CODECS, payloadOf, textOf} = require('./message.cjs');
const {BYTES, CHUNK, JSON: JSON_, MAX_MESSAGE, ProtocolError, validName, cost} = require('./wire.cjs');

const VERSION = '1.0.0';
const MAX_TIMER = 0x7FFFFFFF; // milliseconds that setTimeout takes; with more it fires at once

/** A command to answer, as it came. */
class Call {
  #worker;
  #request;
  #controller = null;

  constructor(worker, request) {
    this.#worker = worker;
    this.#request = request;
    request.call = this;
    this.command = request.command;
    this.payload = request.payload;
    this.codec = CODECS[request.codec];
  }

  /** The words after the command's name: the payload is a JSON list of strings, or empty. */
  get args() {
    let words = [];
    if (this.payload.length) words = this.codec === 'json' ? this.json() : null;
    if (!Array.isArray(words) || !words.every((word) => typeof word === 'string')) {
      throw new CommandError('error', `${this.command} takes a JSON list of strings`);
    }
    return words;
  }

  /** The payload as a string; a JSON string is the string itself. */
  get text() { return textOf(this.#request.codec, this.payload); }

  json() { return JSON.parse(this.payload.toString()); }

  /** Aborted when the caller gave up, the time is up, or the connection is gone. */
  get signal() {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#request.stopped) this.#abort();
    }
    return this.#controller.signal;
  }

  get canceled() { return this.#request.stopped; }

  /** Milliseconds until the caller's time is up, never below 0; Infinity: there is no limit. */
  timeLeft() { return Math.max(0, this.#request.deadline - performance.now()); }

  /**
   * Send a piece of the answer, or with a name something beside it, before the
   * command returns. It waits while the caller is slow. Bytes may be long, everything
   * else fits one frame (64 KiB).
   */
  async send(value, name = '') {
    if (name && !validName(name)) throw new TypeError(`a piece's name ${name}: printable ASCII without spaces, at most 255`);
    const [codec, payload] = payloadOf(value);
    const step = codec === BYTES ? CHUNK - name.length : Math.max(payload.length, 1); // bytes may be cut anywhere
    let at = 0;
    do {
      await this.#worker._piece(this.#request, name, codec, payload.subarray(at, at + step));
      at += step;
    } while (at < payload.length);
  }

  /** Tell the caller how far it is. */
  progress(done, total = 0, text = '') { return this.send({done, total, text}, 'progress'); }

  /** Called by the worker. */
  _stopped() {
    if (this.#controller) this.#abort();
  }

  #abort() { this.#controller.abort(new CommandError(this.#request.why, 'stopped at the caller\'s word')); }
}

/** Progress, to be yielded by a command that is a generator. */
class Progress {
  constructor(done, total = 0, text = '') { Object.assign(this, {done, total, text}); }
}

class Worker {
  #commands = new Map(); // name: {run, help}; fixed once started
  #limits;
  #socket;
  #core = null;
  #early = []; // events from before start
  #earlySize = 0; // what they cost
  #status = '';
  #beat = 0;
  #waiting = []; // resolvers of pieces without credit or room
  #writing = false;
  #flushing = false; // a flush is due at the end of this tick
  #burst = 0; // bytes of pieces since reading had its turn
  #timer = null;
  #timerAt = Infinity;
  #over;
  #finish;
  #drainListeners = [];

  constructor({maxInflight = 64, maxMessage = MAX_MESSAGE, socket = undefined} = {}) {
    if (!(maxInflight >= 1) || !(maxMessage >= MAX_MESSAGE)) throw new RangeError(`maxInflight is at least 1, maxMessage ${MAX_MESSAGE}`);
    this.#limits = {maxInflight, maxMessage, sdk: `brood-node/${VERSION}`};
    this.name = process.env.BROOD_WORKER ?? '';
    this.generation = Number(process.env.BROOD_GENERATION ?? 0);
    this.#socket = socket ?? attach();
    this.#over = new Promise((resolve) => { this.#finish = resolve; });
  }

  /** Register what answers a command. */
  command(name, help, run) {
    if (run === undefined) [help, run] = ['', help];
    if (this.#core) throw new Error(`commands are announced when the worker starts; register ${name} before`);
    if (typeof run !== 'function') throw new TypeError(`command ${name}: ${run} is no function`);
    if (!validName(name) || this.#commands.has(name) || this.#commands.size === 256) {
      throw new TypeError(`command ${name}: a name is 1 to 255 printable ASCII characters without spaces, there once, and at most 256 of them`);
    }
    this.#commands.set(name, {run, help});
    return this;
  }

  /** Say HELLO and begin to answer. run does it; a slow program does it before it warms up. */
  start() {
    if (this.#core) return;
    const core = this.#core = new Core(this, this.#commands, this.#limits);
    core.status = this.#status;
    core.beat = this.#beat;
    for (const event of this.#early) core.event(...event);
    this.#socket.on('data', (data) => this.#receive(data));
    this.#socket.on('error', () => this.#end(null)); // reset: the peer closed without reading everything
    this.#socket.on('close', () => this.#end(null));
    this.#socket.on('end', () => this.#end(null));
    this.#flush();
  }

  /** Say that this worker serves from now on. run does it, once. */
  ready() {
    this.start();
    this.#core.ready();
    this.#flush();
  }

  /**
   * Serve until drained, or until the supervisor is gone. Rejects with ProtocolError
   * if it broke a rule. SIGTERM drains, if the program does nothing else with it. The
   * program should end when it has returned: main does.
   */
  async run() {
    const ours = process.listenerCount('SIGTERM') === 0;
    const term = () => this.drain();
    if (ours) process.on('SIGTERM', term);
    try {
      this.ready();
      await this.#over;
      while (!this.#core.ended && this.#flush()) await this.#room();
      this.#end(null);
    } finally {
      if (ours) process.removeListener('SIGTERM', term);
    }
    if (this.#core.failure) throw this.#core.failure;
  }

  /** Run, then end the process: with status 0, or with 1 and a word why. */
  async main() {
    try {
      await this.run();
    } catch (e) {
      console.error(String(e?.stack ?? e));
      process.exit(1);
    }
    process.exit(0);
  }

  /** Take no new calls, finish the open ones, then end run. */
  drain() {
    this.start();
    this.#core.drain();
  }

  get draining() { return this.#core?.draining ?? false; }

  /** listener is called once no new calls are taken. */
  onDrain(listener) { this.#drainListeners.push(listener); }

  /** Set the line that the supervisor shows for this worker. */
  status(text) {
    this.#status = text.slice(0, 1024);
    if (this.#core) this.#core.status = this.#status;
    return this.event('status', this.#status);
  }

  /** Tell the supervisor something. Never waits; false: it was dropped. */
  event(name, value) {
    if (!validName(name)) throw new TypeError(`event name ${name}: 1 to 255 printable ASCII characters without spaces`);
    const [codec, payload] = payloadOf(value);
    if (name.length + payload.length > CHUNK) throw new RangeError(`an event of ${name.length + payload.length} bytes, at most ${CHUNK} fit`);
    if (!this.#core) {
      const size = cost(name, payload);
      if (this.#earlySize + size > LANE) return false;
      this.#earlySize += size;
      this.#early.push([name, codec, payload]);
      return true;
    }
    const sent = this.#core.event(name, codec, payload);
    this.#flush();
    return sent;
  }

  /** Say that work goes on; the age of the last beat is told with each answer to a ping. */
  beat() {
    this.#beat = performance.now();
    if (this.#core) this.#core.beat = this.#beat;
  }

  /** Ask to be replaced: count, age, memory or a reason of your own. Go on until drained; a second wish is not sent. */
  retire(reason, text = '') {
    if (!validName(reason)) throw new TypeError(`reason ${reason}: a name without spaces`);
    this.start();
    this.#guarded(() => this.#core.retire(reason, text));
  }

  /**
   * Call the supervisor's own handler. Rejects with CommandError. timeout is as
   * Call.timeLeft says: Infinity is no limit, and with 0 the time is up already.
   */
  call(command, value, {timeout = Infinity, signal, piece} = {}) {
    if (!validName(command)) throw new TypeError(`command ${command}: 1 to 255 printable ASCII characters without spaces`);
    if (typeof timeout !== 'number' || Number.isNaN(timeout)) throw new TypeError(`timeout ${timeout}: milliseconds, or Infinity`);
    const [codec, payload] = payloadOf(value);
    this.start();
    return new Promise((resolve, reject) => {
      const joined = [];
      let size = 0, first = -1, chain = Promise.resolve(), timer;
      const giveUp = (error) => {
        this.#guarded(() => this.#core.abandon(own));
        done();
        reject(error);
      };
      const aborted = () => giveUp(signal.reason);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', aborted);
      };
      const own = new Own((name, codec, payload) => {
        const dealtWith = () => this.#guarded(() => this.#core.grant(own, cost(name, payload)));
        if (piece) { // one at a time; credit comes back when it is dealt with
          chain = chain.then(() => piece(new Message(codec, payload, name))).then(dealtWith);
          chain.catch(giveUp);
          return;
        }
        if (!name) {
          if (first < 0) first = codec;
          joined.push(payload);
          size += payload.length;
          if (size > this.#limits.maxMessage) return giveUp(new CommandError('too_large', `the answer is longer than ${this.#limits.maxMessage} bytes`));
        }
        dealtWith();
      }, ({error, codec, payload}) => {
        done();
        if (error) return reject(error);
        joined.push(payload);
        const message = new Message(payload.length || first < 0 ? codec : first, Buffer.concat(joined));
        chain.then(() => resolve(message), () => {});
      });
      if (signal?.aborted) return reject(signal.reason);
      if (timeout <= 0) return reject(new CommandError('timeout', 'the time was up before it was sent', undefined, 'no'));
      this.#core.call(own, command, codec, payload, timeout === Infinity ? 0 : Math.min(Math.ceil(timeout), 0xFFFFFFFF));
      const wait = (left) => {
        timer = setTimeout(() => {
          if (left > MAX_TIMER) return wait(left - MAX_TIMER);
          giveUp(new CommandError('timeout', `no answer within ${timeout} ms`, undefined, own.offered ? 'unknown' : 'no'));
        }, Math.min(left, MAX_TIMER));
      };
      if (timeout !== Infinity) wait(timeout);
      signal?.addEventListener('abort', aborted);
      this.#flush();
    });
  }

  // Reading and writing.

  #receive(data) {
    if (this.#core.ended) return;
    this.#guarded(() => this.#core.receive(data));
    this.#setTimer();
  }

  // Have the core do something that may break a rule, and give out what comes of it.
  #guarded(act) {
    try {
      act();
    } catch (e) {
      if (!(e instanceof ProtocolError)) throw e;
      return this.#end(e);
    }
    this.#flushSoon();
  }

  // At the end of the tick, so that answers of one read go in one write.
  #flushSoon() {
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  // Write what waits, one batch at a time; true: some of it has to wait on.
  #flush() {
    if (this.#writing || this.#core.ended) return this.#writing;
    const parts = this.#core.outgoing();
    if (!parts.length) return false;
    this.#writing = true;
    this.#socket.write(parts.length === 1 ? parts[0] : Buffer.concat(parts), () => {
      this.#writing = false;
      if (!this.#flush()) this.room();
    });
    return true;
  }

  #setTimer() {
    const due = this.#core.nextDeadline;
    if (due >= this.#timerAt || this.#core.ended) return;
    clearTimeout(this.#timer);
    this.#timerAt = due;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      if (this.#core.ended) return;
      if (this.#core.nextDeadline <= performance.now()) this.#guarded(() => this.#core.expire());
      this.#setTimer();
    }, Math.min(Math.max(due - performance.now(), 0) + 1, 60000));
  }

  #end(failure) {
    if (this.#core.ended) return;
    this.#core.end(failure);
    clearTimeout(this.#timer);
    this.#socket.destroy();
    this.#finish();
  }

  // What the core asks for.

  begin(request) {
    const call = new Call(this, request);
    this.#answer(request, call, this.#commands.get(request.command).run);
  }

  async #answer(request, call, run) {
    const core = this.#core;
    try {
      let value = run(call);
      if (value && typeof value.next === 'function' && typeof value[Symbol.asyncIterator] === 'function') value = await this.#stream(call, value);
      else if (value && typeof value.then === 'function') value = await value;
      core.answer(request, ...payloadOf(value));
    } catch (e) {
      if (request.stopped && (e === request.call.signal.reason || e?.name === 'AbortError' || e?.code === 'canceled' || e?.code === 'timeout' || e?.code === 'ABORT_ERR')) {
        core.fail(request, request.why, 'stopped at the caller\'s word');
      } else if (e instanceof CommandError) {
        core.fail(request, e.code, e.message, e.details);
      } else {
        console.error(`command ${request.command} failed:`, e);
        core.fail(request, 'error', String(e));
      }
    }
    this.#flushSoon();
  }

  // Send what an async generator yields; what it returns is the answer.
  async #stream(call, pieces) {
    let step = await pieces.next();
    while (!step.done) {
      const value = step.value;
      try {
        if (value instanceof Progress) await call.progress(value.done, value.total, value.text);
        else await call.send(value);
      } catch (e) { // canceled, most likely: the generator is to know
        step = await pieces.throw(e);
        continue;
      }
      step = await pieces.next();
    }
    return step.value;
  }

  async _piece(request, name, codec, payload) {
    while (!this.#core.piece(request, name, codec, payload)) {
      this.#flush();
      await this.#room();
    }
    this.#flushSoon();
    this.#burst += cost(name, payload);
    if (this.#burst > CHUNK) { // what is read is to have its turn
      this.#burst = 0;
      await new Promise(setImmediate);
    }
  }

  #room() { return new Promise((resolve) => this.#waiting.push(resolve)); }

  stop(request) {
    request.call._stopped();
    this.room();
  }

  room() {
    const waiting = this.#waiting;
    if (!waiting.length) return;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  drainBegins() {
    for (const listener of this.#drainListeners) listener();
  }

  settled() { this.#finish(); }
}

module.exports = {
  Worker, Call, CommandError, Raw, Progress, Message, NotSupervised, ProtocolError, attach, listeners, version: VERSION,
};
