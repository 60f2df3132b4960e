/* brood.h - a worker of a brood supervisor, in one header. C99 or C++, POSIX, no dependencies. MIT license.
 *
 *     #define BROOD_IMPLEMENTATION      // in one file of the program, before any other include
 *     #include "brood.h"
 *
 *     static void flush(brood_call *call, void *user) {
 *         (void)user;
 *         if (brood_argc(call) == 1) brood_text(call, "dropped everything");
 *         else brood_fail(call, "bad_args", "what shall I flush?");
 *     }
 *
 *     int main(void) {
 *         brood *b = brood_new();
 *         if (!b) return 1;             // not started by a supervisor; it has said so on stderr
 *         brood_command(b, "flush", "drop the cache", flush, NULL);
 *         return brood_run(b);          // until drained, or the supervisor is gone
 *     }
 *
 * Everything runs in one thread, the one that calls brood_run or brood_step. A handler that computes for long holds
 * up pings too. One that waits says so with brood_later and returns; it is called again. The answer may also be given
 * from anywhere else in the program's event loop, at any time.
 *
 * Memory is bounded: at most max_inflight calls are open, one message is being put together, and what waits to be
 * written is 256 KiB each of short frames, events and pieces, and the answers. docs/protocol.md is the specification.
 */
#ifndef BROOD_H
#define BROOD_H

#if defined(BROOD_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* MSG_DONTWAIT, MSG_CMSG_CLOEXEC */
#endif

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BROOD_BYTES = 0, BROOD_JSON = 1, BROOD_TEXT = 2 };       /* codecs: how to read a payload */
enum { BROOD_GOES_ON = 0, BROOD_CANCELED = 1, BROOD_TIMEOUT = 2 }; /* brood_canceled */
enum { BROOD_MAX_FDS = 16, BROOD_CHUNK = 65536 };

typedef struct brood brood;
typedef struct brood_call brood_call;

/* A handler answers one command. The call is valid until it is answered, or brood_free. */
typedef void (*brood_handler)(brood_call *call, void *user);

/* The worker. brood_new takes the socket that BROOD_FD names, and the variable with it; NULL: this process was not
 * started by a supervisor, which is said on stderr. brood_from takes a socket instead. Both own it. A process that
 * forks without exec closes it in the child, close(brood_fd(b)): as long as any holds it the connection has no end. */
brood *brood_new(void);
brood *brood_from(int fd);
void brood_free(brood *b);

/* Before the start: limits, 0 for the default. fds are descriptors accepted with a message, 0 to 16, 0 by default.
 * Both return -1 if something is out of bounds, or it is too late. */
int brood_limits(brood *b, unsigned max_inflight, size_t max_message, int fds);
int brood_command(brood *b, const char *name, const char *help, brood_handler handler, void *user);

/* Serves until drained or until the supervisor is gone: 0. 1: a rule was broken, see brood_error. SIGTERM drains, if
 * the program does nothing else with it. */
int brood_run(brood *b);

/* For programs with an event loop of their own: start says HELLO, ready says READY. Then poll brood_fd for
 * brood_events, for at most brood_timeout milliseconds (-1: no limit), and call brood_step; it returns 1 as long as
 * there is more to do. Call it too after anything here was called from elsewhere: but for start, which writes HELLO at
 * once, it is brood_step that writes. So ready may be called from a handler, and before start or brood_run as well. */
int brood_start(brood *b);
void brood_ready(brood *b);
int brood_fd(const brood *b);
short brood_events(const brood *b);
int brood_timeout(brood *b);
int brood_step(brood *b);
const char *brood_error(const brood *b); /* what ended the connection: "" or "rule answer at byte 103: …" */
void brood_drain(brood *b);              /* take no new calls, finish the open ones, then end */
int brood_draining(const brood *b);

/* Telling. They never wait; 0: dropped, because the supervisor does not read or is gone. */
int brood_status(brood *b, const char *text);
int brood_event(brood *b, const char *name, int codec, const void *data, size_t size);
int brood_retire(brood *b, const char *reason, const char *text); /* replace me; go on until drained. text may be NULL. Said once */
void brood_beat(brood *b);                                        /* work goes on */

/* What a call is. */
const char *brood_name(const brood_call *call);
int brood_codec(const brood_call *call);
const unsigned char *brood_payload(const brood_call *call, size_t *size); /* a 0 byte stands behind it */
int brood_argc(brood_call *call);                /* words behind the command's name; -1: the payload is no list of them */
const char *brood_arg(brood_call *call, int i);  /* "" beyond the last */
int64_t brood_time_left(const brood_call *call); /* milliseconds; -1: no limit */
int brood_canceled(const brood_call *call);
int brood_fds(const brood_call *call, const int **fds); /* descriptors that came; closed when the call is answered */
int brood_take_fd(brood_call *call, int i);             /* one of them, from now on yours */
brood *brood_worker(brood_call *call);
int64_t brood_now(void); /* monotonic milliseconds */

/* Waiting: handler is called once, after so many milliseconds (-1: no time), or sooner: when the call is canceled or
 * out of time, or when a piece that found no room has some. It looks which, and may wait again. */
void brood_later(brood_call *call, int milliseconds, brood_handler handler, void *user);
/* What a handler wants to keep. drop, if not NULL, is called with it when the call is answered or the worker freed. */
void *brood_keep(brood_call *call, void *data, void (*drop)(void *));
void *brood_kept(const brood_call *call);

/* Answering: exactly once a call. Data is copied. brood_stop answers a canceled call, by why it was. */
void brood_result(brood_call *call, int codec, const void *data, size_t size);
void brood_result_fds(brood_call *call, int codec, const void *data, size_t size, const int *fds, int nfds); /* duplicates go */
void brood_text(brood_call *call, const char *text);
void brood_fail(brood_call *call, const char *code, const char *message);
void brood_stop(brood_call *call);

/* A piece of the answer (name NULL or ""), or something beside it, before the answer: at most 64 KiB. 1: sent.
 * 0: the caller takes no more for now; brood_later, then try again. -1: it can't be sent, or is no longer wanted. */
int brood_send(brood_call *call, const char *name, int codec, const void *data, size_t size);
int brood_send_fds(brood_call *call, const char *name, int codec, const void *data, size_t size, const int *fds, int nfds);
int brood_progress(brood_call *call, int64_t done, int64_t total, const char *text);

/* A call of the supervisor's own handler. piece (may be NULL) is given the pieces of a streamed answer as they come;
 * without it they are put in front of the answer. end is called once: code NULL and the answer, or an error's code and
 * message, with a 0 byte behind; data may be NULL. Descriptors are the receiver's to close. milliseconds is how long it
 * may take, as brood_time_left says it: -1 is no limit, and with 0 the time is up already: nothing is sent, and the next
 * brood_step tells end `timeout`. Returns the call's id; 0: not sent, end is not called. */
typedef void (*brood_piece)(void *user, const char *name, int codec, const unsigned char *data, size_t size, const int *fds, int nfds);
typedef void (*brood_end)(void *user, const char *code, int codec, const unsigned char *data, size_t size, const int *fds, int nfds);
uint32_t brood_ask(brood *b, const char *command, int codec, const void *data, size_t size, int64_t milliseconds,
                   brood_piece piece, brood_end end, void *user);
/* The answer is no longer wanted. end is told `canceled` when the supervisor has let go of the call, or by the next
 * brood_step if nothing of it was sent. */
void brood_unask(brood *b, uint32_t id);

#ifdef __cplusplus
}
#endif
#endif /* BROOD_H */

#ifdef BROOD_IMPLEMENTATION
#undef BROOD_IMPLEMENTATION

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0
#endif

/* ---- the wire ---- */

enum { BROOD__HEADER = 20, BROOD__FRAME = 20 + 65536, /* a whole one */
       BROOD__LANE = 256 << 10, BROOD__CREDIT = 256 << 10, BROOD__GRANT = 64 << 10, BROOD__FD_COST = 4096 };
enum { BROOD__COMMANDS = 256, BROOD__MORE = 1, BROOD__MUST = 2, BROOD__DEPTH = 128 };
enum { BROOD__HELLO = 1, BROOD__READY, BROOD__PING, BROOD__PONG, BROOD__CALL, BROOD__DATA, BROOD__RESULT, BROOD__ERROR, BROOD__CANCEL,
       BROOD__WINDOW, BROOD__EVENT, BROOD__DRAIN, BROOD__RETIRE };
#define BROOD__MAX_MESSAGE ((size_t)16 << 20)
#define BROOD__MAX_CREDIT 0x7FFFFFFF

/* What a frame of a known type may have. */
enum { BROOD__S_CALL = 1, BROOD__S_NAME = 2, BROOD__S_PAYLOAD = 4, BROOD__S_ARG = 8, BROOD__S_MORE = 16, BROOD__S_FDS = 32, BROOD__S_JSON = 64,
       BROOD__S_WORKER = 128, BROOD__S_KNOWN = 256 };
static const unsigned short brood__shapes[14] = {
    0,
    256 | 4 | 64,              /* HELLO */
    256 | 128,                 /* READY */
    256 | 8,                   /* PING */
    256 | 8 | 4 | 64,          /* PONG */
    256 | 1 | 2 | 4 | 8 | 16 | 32, /* CALL */
    256 | 1 | 2 | 4 | 32,      /* DATA */
    256 | 1 | 4 | 16 | 32,     /* RESULT */
    256 | 1 | 2 | 4 | 64,      /* ERROR */
    256 | 1,                   /* CANCEL */
    256 | 1 | 8,               /* WINDOW */
    256 | 128 | 2 | 4,         /* EVENT */
    256 | 8,                   /* DRAIN */
    256 | 128 | 2 | 4 | 64,    /* RETIRE */
};

typedef struct {
    unsigned type, flags, nlen, nfds, codec;
    uint32_t length, id, arg;
    const unsigned char *name, *payload; /* into the buffer that was parsed */
    size_t size;                         /* of the payload */
} brood__frame;

typedef struct { const char *rule; unsigned at; } brood__breach;

static uint32_t brood__get32(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void brood__put32(unsigned char *p, uint32_t n) {
    p[0] = (unsigned char)(n >> 24); p[1] = (unsigned char)(n >> 16); p[2] = (unsigned char)(n >> 8); p[3] = (unsigned char)n;
}

static void brood__header(unsigned char *p, unsigned type, unsigned flags, uint32_t length, uint32_t id, uint32_t arg, size_t nlen, unsigned nfds,
                          unsigned codec) {
    p[0] = 0xBD; p[1] = 1; p[2] = (unsigned char)type; p[3] = (unsigned char)flags;
    brood__put32(p + 4, length); brood__put32(p + 8, id); brood__put32(p + 12, arg);
    p[16] = (unsigned char)(nlen >> 8); p[17] = (unsigned char)nlen; p[18] = (unsigned char)nfds; p[19] = (unsigned char)codec;
}

static long brood__break(brood__breach *br, const char *rule, unsigned at) { br->rule = rule; br->at = at; return -1; }

/* Bytes of the frame at the front of p[:n]; 0: it is not whole yet; -1: it breaks br->rule at its byte br->at. The
 * length is checked as soon as the header is there. */
static long brood__parse(const unsigned char *p, size_t n, size_t chunk, brood__frame *f, brood__breach *br) {
    unsigned s, i;
    if (n > 0 && p[0] != 0xBD) return brood__break(br, "magic", 0);
    if (n > 1 && p[1] != 1) return brood__break(br, "version", 1);
    if (n < BROOD__HEADER) return 0;
    f->type = p[2]; f->flags = p[3]; f->length = brood__get32(p + 4); f->id = brood__get32(p + 8); f->arg = brood__get32(p + 12);
    f->nlen = (unsigned)p[16] << 8 | p[17]; f->nfds = p[18]; f->codec = p[19];
    if (f->flags > (BROOD__MORE | BROOD__MUST)) return brood__break(br, "flags", 3);
    if (f->length > chunk) return brood__break(br, "length", 4);
    if (f->nlen > 255 || f->nlen > f->length) return brood__break(br, "nlen", 16);
    if (f->nfds > BROOD_MAX_FDS) return brood__break(br, "nfds", 18);
    s = f->type < 14 ? brood__shapes[f->type] : 0;
    if (!s) {
        if (f->flags & BROOD__MUST) return brood__break(br, "must", 2);
    } else {
        if (!(s & BROOD__S_CALL) != (f->id == 0)) return brood__break(br, "id", 8);
        if (f->nlen && !(s & BROOD__S_NAME)) return brood__break(br, "name", 16);
        if (f->length > f->nlen && !(s & BROOD__S_PAYLOAD)) return brood__break(br, "payload", 4);
        if (f->arg && !(s & BROOD__S_ARG)) return brood__break(br, "arg", 12);
        if (f->flags & BROOD__MORE && !(s & BROOD__S_MORE)) return brood__break(br, "more", 3);
        if (f->nfds && !(s & BROOD__S_FDS)) return brood__break(br, "nfds", 18);
        if (f->type == BROOD__WINDOW && (f->arg == 0 || f->arg > BROOD__MAX_CREDIT)) return brood__break(br, "window", 12);
        if (f->codec > BROOD_TEXT) return brood__break(br, "codec", 19);
        if (s & BROOD__S_JSON && f->length > f->nlen && f->codec != BROOD_JSON) return brood__break(br, "codec", 19);
        if ((f->type == BROOD__DATA || f->type == BROOD__HELLO) && f->length > BROOD_CHUNK) return brood__break(br, "length", 4);
    }
    if (n < BROOD__HEADER + (size_t)f->length) return 0;
    f->name = p + BROOD__HEADER;
    for (i = 0; i < f->nlen; i++)
        if (f->name[i] < 0x21 || f->name[i] > 0x7E) return brood__break(br, "name", BROOD__HEADER + i);
    f->payload = f->name + f->nlen;
    f->size = f->length - f->nlen;
    return (long)(BROOD__HEADER + f->length);
}

static int brood__valid_name(const char *s) {
    size_t n = 0;
    for (; s && s[n]; n++)
        if (s[n] < 0x21 || s[n] > 0x7E) return 0;
    return n >= 1 && n <= 255;
}

/* ---- memory: a worker that has none left ends ---- */

static void *brood__more(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    if (!q) { fputs("brood: out of memory\n", stderr); abort(); }
    return q;
}

static void *brood__zero(size_t n) { return memset(brood__more(NULL, n), 0, n); }

/* A copy with a 0 byte behind it. */
static unsigned char *brood__copy(const void *p, size_t n) {
    unsigned char *q = (unsigned char *)brood__more(NULL, n + 1);
    if (n) memcpy(q, p, n);
    q[n] = 0;
    return q;
}

typedef struct { unsigned char *p; size_t n, room; } brood__buf;

static unsigned char *brood__grow(brood__buf *b, size_t n) {
    if (b->n + n > b->room) {
        b->room = b->room * 2 > b->n + n ? b->room * 2 : b->n + n + 256;
        b->p = (unsigned char *)brood__more(b->p, b->room);
    }
    b->n += n;
    return b->p + b->n - n;
}

static void brood__add(brood__buf *b, const void *p, size_t n) { unsigned char *q = brood__grow(b, n); if (n) memcpy(q, p, n); }
static void brood__adds(brood__buf *b, const char *s) { brood__add(b, s, strlen(s)); }
static void brood__drop(brood__buf *b) { free(b->p); memset(b, 0, sizeof *b); }

static void brood__addf(brood__buf *b, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    brood__adds(b, text);
}

/* ---- JSON ---- */

/* s as a JSON string, at most so many bytes of it, and whole characters. */
static void brood__json_string(brood__buf *b, const char *s, size_t most) {
    size_t n = strlen(s), i;
    if (n > most)
        for (n = most; n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80; n--) {}
    brood__adds(b, "\"");
    for (i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') { brood__add(b, "\\", 1); brood__add(b, &c, 1); }
        else if (c < 0x20) brood__addf(b, "\\u%04x", c);
        else brood__add(b, &c, 1);
    }
    brood__adds(b, "\"");
}

typedef struct { const unsigned char *p, *end; } brood__json;

static void brood__space(brood__json *j) { while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) j->p++; }
static int brood__is(brood__json *j, int c) { brood__space(j); if (j->p < j->end && *j->p == c) { j->p++; return 1; } return 0; }

static int brood__hex4(brood__json *j, unsigned *u) {
    int i;
    for (*u = 0, i = 0; i < 4; i++, j->p++) {
        int c = j->p < j->end ? *j->p : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return 0;
        *u = *u << 4 | (unsigned)d;
    }
    return 1;
}

static void brood__utf8(brood__buf *b, unsigned u) {
    unsigned char c[4];
    if (u < 0x80) { c[0] = (unsigned char)u; brood__add(b, c, 1); return; }
    if (u < 0x800) { c[0] = (unsigned char)(0xC0 | u >> 6); c[1] = (unsigned char)(0x80 | (u & 63)); brood__add(b, c, 2); return; }
    if (u < 0x10000) {
        c[0] = (unsigned char)(0xE0 | u >> 12); c[1] = (unsigned char)(0x80 | (u >> 6 & 63)); c[2] = (unsigned char)(0x80 | (u & 63));
        brood__add(b, c, 3);
        return;
    }
    c[0] = (unsigned char)(0xF0 | u >> 18); c[1] = (unsigned char)(0x80 | (u >> 12 & 63)); c[2] = (unsigned char)(0x80 | (u >> 6 & 63));
    c[3] = (unsigned char)(0x80 | (u & 63));
    brood__add(b, c, 4);
}

/* A string, decoded into out unless that is NULL. */
static int brood__string(brood__json *j, brood__buf *out) {
    if (!brood__is(j, '"')) return 0;
    while (j->p < j->end) {
        unsigned char c = *j->p++;
        unsigned u = c, low;
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        if (c == '"') return 1;
        if (c < 0x20) return 0;
        if (c == '\\') {
            const char *at;
            if (j->p >= j->end) return 0;
            c = *j->p++;
            if (c == 'u') {
                if (!brood__hex4(j, &u)) return 0;
                if (u >= 0xD800 && u < 0xDC00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u') {
                    brood__json ahead = *j;
                    ahead.p += 2;
                    if (brood__hex4(&ahead, &low) && low >= 0xDC00 && low < 0xE000) { u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00); *j = ahead; }
                }
                if (u >= 0xD800 && u < 0xE000) u = 0xFFFD;
                if (out) brood__utf8(out, u);
                continue;
            }
            if (!c || !(at = strchr(from, c))) return 0;
            c = (unsigned char)to[at - from];
        }
        if (out) brood__add(out, &c, 1);
    }
    return 0;
}

static int brood__digits(brood__json *j) {
    const unsigned char *from = j->p;
    while (j->p < j->end && *j->p >= '0' && *j->p <= '9') j->p++;
    return j->p > from;
}

/* A number; *whole: it is an integer. */
static int brood__number(brood__json *j, int64_t *value, int *whole) {
    const unsigned char *from;
    int minus;
    brood__space(j);
    minus = j->p < j->end && *j->p == '-';
    from = j->p += minus;
    if (!brood__digits(j) || (*from == '0' && j->p > from + 1)) return 0;
    *whole = 1;
    for (*value = 0; from < j->p; from++)
        if (*value < (int64_t)1 << 52) *value = *value * 10 + (*from - '0');
    if (minus) *value = -*value;
    if (j->p < j->end && *j->p == '.') { *whole = 0; j->p++; if (!brood__digits(j)) return 0; }
    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        *whole = 0;
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-')) j->p++;
        if (!brood__digits(j)) return 0;
    }
    return 1;
}

static int brood__value(brood__json *j, int depth) {
    static const char *const words[] = {"true", "false", "null"};
    int64_t n;
    int i, whole, list;
    brood__space(j);
    if (j->p >= j->end || depth > BROOD__DEPTH) return 0;
    if (*j->p == '"') return brood__string(j, NULL);
    list = *j->p == '[';
    if (list || *j->p == '{') {
        int close = list ? ']' : '}';
        j->p++;
        if (brood__is(j, close)) return 1;
        do {
            if (!list && (!brood__string(j, NULL) || !brood__is(j, ':'))) return 0;
            if (!brood__value(j, depth + 1)) return 0;
        } while (brood__is(j, ','));
        return brood__is(j, close);
    }
    for (i = 0; i < 3; i++) {
        size_t n_ = strlen(words[i]);
        if ((size_t)(j->end - j->p) >= n_ && !memcmp(j->p, words[i], n_)) { j->p += n_; return 1; }
    }
    return brood__number(j, &n, &whole);
}

/* The next member of an object: its key, with *value at its value and j behind it. First call with *first set. 0: there
 * is none; -1: this is no JSON object. */
static int brood__member(brood__json *j, int *first, brood__buf *key, brood__json *value) {
    if (*first && !brood__is(j, '{')) return -1;
    if (brood__is(j, '}')) { brood__space(j); return j->p == j->end ? 0 : -1; }
    if (!*first && !brood__is(j, ',')) return -1;
    if (!*first) { brood__space(j); if (j->p < j->end && *j->p == '}') return -1; }
    *first = 0;
    key->n = 0;
    if (!brood__string(j, key) || !brood__is(j, ':')) return -1;
    brood__add(key, "", 1);
    brood__space(j);
    value->p = j->p;
    if (!brood__value(j, 0)) return -1;
    value->end = j->p;
    return 1;
}

static int brood__json_object(const unsigned char *p, size_t n) {
    brood__json j, value;
    brood__buf key = {NULL, 0, 0};
    int first = 1, got;
    j.p = p; j.end = p + n;
    while ((got = brood__member(&j, &first, &key, &value)) > 0) {}
    brood__drop(&key);
    return got == 0;
}

/* ---- the worker ---- */

typedef struct brood__out { /* a message on its way out */
    struct brood__out *next;
    unsigned type, codec;
    uint32_t id, arg;
    uint64_t seq;
    unsigned char *name_payload; /* the name, then the payload */
    size_t nlen, size, sent;     /* size of the payload, and how much of it has gone */
    int nfds, fds[BROOD_MAX_FDS];
} brood__out;

typedef struct { brood__out *first, *last; } brood__queue;

struct brood_call {
    brood *b;
    brood_call *next; /* in the order in which they came */
    uint32_t id;
    int codec, canceled, answered, wants_room, argc, nfds;
    int fds[BROOD_MAX_FDS];
    char *name, **argv;
    unsigned char *payload;
    size_t size;
    int64_t received, deadline, credit; /* deadline 0: none */
    brood_handler later;
    void *later_user;
    int64_t later_at; /* -1: no time */
    void *kept;
    void (*drop)(void *);
};

typedef struct brood__own { /* a call of ours */
    struct brood__own *next;
    uint32_t id;
    int64_t credit, owed, deadline;
    const char *abandoned; /* given up: the code that its end is told */
    int whole, unsent;     /* its last frame is given out; given up before its first one was, and brood__wake ends it */
    int joined_codec;
    brood_piece piece;
    brood_end end;
    void *user;
    brood__buf joined;
} brood__own;

typedef struct { char *name, *help; brood_handler handler; void *user; } brood__command;

struct brood {
    int fd, started, is_ready, ended, draining, greeted, failed, retires;
    char error[160], status[1025];
    int64_t beat, grace; /* milliseconds of brood_now; 0: never, none */
    unsigned max_inflight;
    size_t max_message;
    int max_fds;
    brood__command *commands;
    int ncommands;
    /* what came in */
    unsigned char *in;
    size_t held;
    uint64_t read; /* bytes before those held */
    int nfds, fds[2 * BROOD_MAX_FDS];
    uint64_t fds_until; /* the stream's offset behind the bytes that the last of them came with */
    brood__frame first; /* of the message that is coming in pieces, if partial */
    char first_name[256];
    brood__buf partial_buf;
    int partial, partial_nfds, partial_fds[BROOD_MAX_FDS];
    brood_call *open, **open_end;
    unsigned nopen;
    brood__own *own;
    unsigned nown;
    uint32_t next_id;
    /* what goes out */
    brood__buf urgent, batch;
    size_t batch_sent;
    int batch_nfds, batch_fds[BROOD_MAX_FDS];
    brood__queue shorts, longs;
    uint64_t seq;
    size_t asked, events, pieces; /* bytes that wait: of answers among the urgent, of events, of pieces */
    size_t peer_max, peer_chunk;
    unsigned peer_inflight;
    int peer_fds;
};

int64_t brood_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void brood__close(int *fds, int *n) {
    int i;
    for (i = 0; i < *n; i++)
        if (fds[i] >= 0) close(fds[i]);
    *n = 0;
}

static void brood__free_out(brood__out *o) { brood__close(o->fds, &o->nfds); free(o->name_payload); free(o); }

static void brood__free_queue(brood__queue *q) {
    while (q->first) { brood__out *o = q->first; q->first = o->next; brood__free_out(o); }
    q->last = NULL;
}

/* What a call holds, but for itself. */
static void brood__empty_call(brood_call *c) {
    if (c->drop) c->drop(c->kept);
    brood__close(c->fds, &c->nfds);
    if (c->argv) free(c->argv[0]);
    free(c->argv); free(c->payload); free(c->name);
    c->drop = NULL; c->kept = NULL; c->argv = NULL; c->payload = NULL; c->name = NULL; c->later = NULL;
}

static void brood__own_end(brood *b, brood__own *own, const char *code, int codec, const unsigned char *data, size_t size, const int *fds, int nfds) {
    brood__own **at = &b->own;
    while (*at != own) at = &(*at)->next;
    *at = own->next;
    b->nown--;
    if (!code && own->abandoned) {
        for (; nfds > 0; nfds--) close(fds[nfds - 1]);
        code = own->abandoned;
        data = NULL;
        size = 0;
    } else if (!code && own->joined.n) {
        if (!size) codec = own->joined_codec;
        brood__add(&own->joined, data, size);
        data = own->joined.p;
        size = own->joined.n;
    }
    own->end(own->user, code, codec, data, size, fds, nfds);
    brood__drop(&own->joined);
    free(own);
}

/* The end of a call of which the supervisor has seen nothing. */
static void brood__own_unsent(brood *b, brood__own *own) {
    brood__own_end(b, own, own->abandoned, BROOD_TEXT, (const unsigned char *)"given up before it was sent", 27, NULL, 0);
}

/* Nothing is written any more and every open call is canceled. */
static void brood__over(brood *b) {
    brood_call *c;
    b->ended = 1;
    brood__free_queue(&b->shorts);
    brood__free_queue(&b->longs);
    b->urgent.n = b->batch.n = b->batch_sent = 0;
    brood__close(b->batch_fds, &b->batch_nfds);
    brood__close(b->fds, &b->nfds);
    brood__close(b->partial_fds, &b->partial_nfds);
    brood__drop(&b->partial_buf);
    for (c = b->open; c; c = c->next)
        if (!c->answered) {
            if (!c->canceled) c->canceled = BROOD_CANCELED;
            if (c->later) { brood_handler later = c->later; c->later = NULL; later(c, c->later_user); }
        }
    while (b->own) {
        if (b->own->unsent) brood__own_unsent(b, b->own);
        else brood__own_end(b, b->own, "lost", BROOD_TEXT, (const unsigned char *)"the connection has ended", 24, NULL, 0);
    }
}

/* End the connection, once. */
static void brood__ends(brood *b, const char *rule, uint64_t at) {
    if (b->ended) return;
    if (rule) {
        b->failed = 1;
        snprintf(b->error, sizeof b->error, "rule %s at byte %llu", rule, (unsigned long long)at);
    }
    shutdown(b->fd, SHUT_RDWR);
    brood__over(b);
}

/* Queue a short frame ahead of all messages. Of answers a peer that does not read has only so many. */
static void brood__push(brood *b, unsigned type, uint32_t id, uint32_t arg, unsigned codec, const char *name, const void *data, size_t size) {
    size_t nlen = name ? strlen(name) : 0;
    unsigned char *p;
    if (b->ended) return;
    if (type == BROOD__PONG || type == BROOD__ERROR || type == BROOD__WINDOW) {
        size_t n = BROOD__HEADER + nlen + size;
        if (b->asked && b->asked + n > BROOD__LANE) { brood__ends(b, "unread", b->read); return; }
        b->asked += n;
    }
    p = brood__grow(&b->urgent, BROOD__HEADER + nlen + size);
    brood__header(p, type, 0, (uint32_t)(nlen + size), id, arg, nlen, 0, codec);
    if (nlen) memcpy(p + BROOD__HEADER, name, nlen);
    if (size) memcpy(p + BROOD__HEADER + nlen, data, size);
}

/* Queue a message. fds become its own. */
static void brood__queue_out(brood *b, unsigned type, uint32_t id, uint32_t arg, unsigned codec, const char *name, const void *data, size_t size,
                             const int *fds, int nfds) {
    brood__out *o = (brood__out *)brood__zero(sizeof *o);
    brood__queue *q;
    o->type = type; o->id = id; o->arg = arg; o->codec = codec; o->size = size; o->seq = ++b->seq;
    o->nlen = name ? strlen(name) : 0;
    o->name_payload = (unsigned char *)brood__more(NULL, o->nlen + size);
    if (o->nlen) memcpy(o->name_payload, name, o->nlen);
    if (size) memcpy(o->name_payload + o->nlen, data, size);
    o->nfds = nfds;
    if (nfds) memcpy(o->fds, fds, (size_t)nfds * sizeof *fds);
    q = o->nlen + size <= b->peer_chunk ? &b->shorts : &b->longs;
    if (q->last) q->last->next = o; else q->first = o;
    q->last = o;
}

static void brood__remove(brood *b, uint32_t id) {
    brood_call **at = &b->open, *c;
    while (*at && (*at)->id != id) at = &(*at)->next;
    if (!(c = *at)) return;
    *at = c->next;
    if (!c->next) b->open_end = at;
    b->nopen--;
    free(c);
}

static brood__own *brood__find_own(brood *b, uint32_t id) {
    brood__own *own = b->own;
    while (own && own->id != id) own = own->next;
    return own;
}

/* The call of ours that the supervisor may answer: it was given out whole. */
static brood__own *brood__find_asked(brood *b, uint32_t id) {
    brood__own *own = brood__find_own(b, id);
    return own && own->whole ? own : NULL;
}

/* The last frame of a CALL is given out. If it was given up meanwhile CANCEL follows. */
static void brood__asked(brood *b, uint32_t id) {
    brood__own *own = brood__find_own(b, id);
    own->whole = 1;
    if (own->abandoned) brood__header(brood__grow(&b->batch, BROOD__HEADER), BROOD__CANCEL, 0, 0, id, 0, 0, 0, 0);
}

/* Take a CALL off its queue; 0: it is not there, or some of it was given out. */
static int brood__withdraw(brood *b, uint32_t id) {
    brood__queue *queues[2], *q;
    brood__out **at, *o, *before;
    int i;
    queues[0] = &b->shorts; queues[1] = &b->longs;
    for (i = 0; i < 2; i++)
        for (q = queues[i], before = NULL, at = &q->first; (o = *at); before = o, at = &o->next)
            if (o->type == BROOD__CALL && o->id == id) {
                if (o->sent) return 0;
                if (!(*at = o->next)) q->last = before;
                brood__free_out(o);
                return 1;
            }
    return 0;
}

/* Move of the message at the front of q one frame into the batch. */
static void brood__give_out(brood *b, brood__queue *q) {
    brood__out *o = q->first;
    int begins = !o->sent;
    size_t nlen = begins ? o->nlen : 0, room = b->peer_chunk - nlen, n = o->size - o->sent < room ? o->size - o->sent : room;
    int more = o->sent + n < o->size;
    unsigned char *p = brood__grow(&b->batch, BROOD__HEADER + nlen + n);
    brood__header(p, o->type, more ? BROOD__MORE : 0, (uint32_t)(nlen + n), o->id, begins ? o->arg : 0, nlen, begins ? (unsigned)o->nfds : 0, o->codec);
    if (nlen) memcpy(p + BROOD__HEADER, o->name_payload, nlen);
    if (n) memcpy(p + BROOD__HEADER + nlen, o->name_payload + o->nlen + o->sent, n);
    o->sent += n;
    if (o->nfds) {
        memcpy(b->batch_fds, o->fds, sizeof o->fds);
        b->batch_nfds = o->nfds;
        o->nfds = 0;
    }
    if (more) return;
    if (o->type == BROOD__DATA) b->pieces -= BROOD__HEADER + o->nlen + o->size;
    else if (o->type == BROOD__EVENT) b->events -= BROOD__HEADER + o->nlen + o->size;
    else if (o->type == BROOD__CALL) brood__asked(b, o->id);
    else brood__remove(b, o->id); /* the peer may use the id again */
    if (!(q->first = o->next)) q->last = NULL;
    brood__free_out(o);
}

/* Fill the batch: short frames first, then messages, short ones ahead of long ones, but not without end. A long one
 * does not begin before what was queued earlier: its call's pieces are among that. */
static void brood__fill(brood *b) {
    b->batch.n = b->batch_sent = 0;
    if (b->urgent.n) {
        brood__buf swap = b->batch;
        b->batch = b->urgent;
        b->urgent = swap;
        b->urgent.n = b->asked = 0;
    }
    while (b->batch.n < BROOD_CHUNK) {
        brood__out *s = b->shorts.first, *l = b->longs.first;
        int use_long = l && (!s || (b->batch.n >= BROOD_CHUNK / 2 && (l->sent || s->seq > l->seq)));
        brood__queue *q = use_long ? &b->longs : &b->shorts;
        if (!q->first || (q->first->nfds && b->batch.n)) break; /* descriptors ride on the first byte of a write */
        brood__give_out(b, q);
    }
}

static long brood__write(brood *b) {
    struct msghdr m;
    struct iovec v;
    union { struct cmsghdr align; char bytes[CMSG_SPACE(BROOD_MAX_FDS * sizeof(int))]; } control;
    memset(&m, 0, sizeof m);
    v.iov_base = b->batch.p + b->batch_sent;
    v.iov_len = b->batch.n - b->batch_sent;
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    if (b->batch_nfds) {
        struct cmsghdr *c;
        size_t n = (size_t)b->batch_nfds * sizeof(int);
        memset(&control, 0, sizeof control);
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(n);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n);
        memcpy(CMSG_DATA(c), b->batch_fds, n);
    }
    return (long)sendmsg(b->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Write what the socket takes. */
static void brood__flush(brood *b) {
    while (!b->ended) {
        long n;
        if (b->batch_sent == b->batch.n) brood__fill(b);
        if (!b->batch.n) break;
        n = brood__write(b);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n < 0) { brood__ends(b, NULL, 0); return; }
        brood__close(b->batch_fds, &b->batch_nfds);
        b->batch_sent += (size_t)n;
    }
    if (b->batch.room > 4 * BROOD_CHUNK) brood__drop(&b->batch);
    if (b->urgent.room > BROOD_CHUNK) brood__drop(&b->urgent);
}

static int brood__pending(const brood *b) { return b->batch_sent < b->batch.n || b->urgent.n || b->shorts.first || b->longs.first; }

static int brood__answerable(brood_call *c) { return !c->answered && !c->b->ended; }

static void brood__answered(brood_call *c) {
    c->answered = 1;
    brood__empty_call(c);
}

static void brood__error(brood *b, uint32_t id, const char *code, const char *message, const char *started, int urgent) {
    brood__buf j = {NULL, 0, 0};
    brood__adds(&j, "{\"message\":");
    brood__json_string(&j, message ? message : "", 8192);
    brood__addf(&j, ",\"started\":\"%s\"}", started);
    if (urgent) brood__push(b, BROOD__ERROR, id, 0, BROOD_JSON, code, j.p, j.n);
    else brood__queue_out(b, BROOD__ERROR, id, 0, BROOD_JSON, code, j.p, j.n, NULL, 0);
    brood__drop(&j);
}

void brood_fail(brood_call *c, const char *code, const char *message) {
    if (brood__answerable(c)) brood__error(c->b, c->id, brood__valid_name(code) ? code : "error", message, "yes", 0);
    brood__answered(c);
}

void brood_stop(brood_call *c) {
    brood_fail(c, c->canceled == BROOD_TIMEOUT ? "timeout" : "canceled", c->canceled == BROOD_TIMEOUT ? "the time was up" : "stopped at the caller's word");
}

/* Duplicates of fds; 0: there are more than the supervisor takes, or none to be had. */
static int brood__dup(brood *b, const int *fds, int nfds, int *out) {
    int i;
    if (nfds < 0 || nfds > b->peer_fds) return 0;
    for (i = 0; i < nfds; i++)
        if ((out[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0)) < 0) { brood__close(out, &i); return 0; }
    return 1;
}

void brood_result_fds(brood_call *c, int codec, const void *data, size_t size, const int *fds, int nfds) {
    int own[BROOD_MAX_FDS] = {0};
    if (!brood__answerable(c)) { brood__answered(c); return; }
    if (size > c->b->peer_max) { brood_fail(c, "too_large", "the answer is longer than the supervisor accepts"); return; }
    if (!brood__dup(c->b, fds, nfds, own)) { brood_fail(c, "error", "the descriptors can't be handed over"); return; }
    brood__queue_out(c->b, BROOD__RESULT, c->id, 0, (unsigned)codec, NULL, data, size, own, nfds);
    brood__answered(c);
}

void brood_result(brood_call *c, int codec, const void *data, size_t size) { brood_result_fds(c, codec, data, size, NULL, 0); }
void brood_text(brood_call *c, const char *text) { brood_result(c, BROOD_TEXT, text, strlen(text)); }

int brood_send_fds(brood_call *c, const char *name, int codec, const void *data, size_t size, const int *fds, int nfds) {
    brood *b = c->b;
    size_t nlen = name ? strlen(name) : 0;
    int64_t cost = (int64_t)(BROOD__HEADER + nlen + size) + (int64_t)BROOD__FD_COST * nfds;
    int own[BROOD_MAX_FDS] = {0};
    if (!brood__answerable(c) || c->canceled || nlen + size > BROOD_CHUNK || (nlen && !brood__valid_name(name))) return -1;
    if (cost > c->credit || (b->pieces && b->pieces + BROOD__HEADER + nlen + size > BROOD__LANE)) { c->wants_room = 1; return 0; }
    if (!brood__dup(b, fds, nfds, own)) return -1;
    c->credit -= cost;
    b->pieces += BROOD__HEADER + nlen + size;
    brood__queue_out(b, BROOD__DATA, c->id, 0, (unsigned)codec, name, data, size, own, nfds);
    return 1;
}

int brood_send(brood_call *c, const char *name, int codec, const void *data, size_t size) {
    return brood_send_fds(c, name, codec, data, size, NULL, 0);
}

int brood_progress(brood_call *c, int64_t done, int64_t total, const char *text) {
    brood__buf j = {NULL, 0, 0};
    int sent;
    brood__addf(&j, "{\"done\":%lld,\"total\":%lld,\"text\":", (long long)done, (long long)total);
    brood__json_string(&j, text ? text : "", 8192);
    brood__adds(&j, "}");
    sent = brood_send(c, "progress", BROOD_JSON, j.p, j.n);
    brood__drop(&j);
    return sent;
}

const char *brood_name(const brood_call *c) { return c->name; }
int brood_codec(const brood_call *c) { return c->codec; }
const unsigned char *brood_payload(const brood_call *c, size_t *size) { *size = c->size; return c->payload; }
int brood_canceled(const brood_call *c) { return c->canceled; }
int brood_fds(const brood_call *c, const int **fds) { *fds = c->fds; return c->nfds; }
brood *brood_worker(brood_call *c) { return c->b; }
void *brood_kept(const brood_call *c) { return c->kept; }

int64_t brood_time_left(const brood_call *c) {
    int64_t left = c->deadline - brood_now();
    return !c->deadline ? -1 : left > 0 ? left : 0;
}

int brood_take_fd(brood_call *c, int i) {
    int fd = i >= 0 && i < c->nfds ? c->fds[i] : -1;
    if (fd >= 0) c->fds[i] = -1;
    return fd;
}

/* The words are decoded into one block, which argv[0] points to. */
static void brood__words(brood_call *c) {
    brood__json j;
    brood__buf text = {NULL, 0, 0}, at = {NULL, 0, 0};
    size_t offset;
    int n = 0, i;
    j.p = c->payload;
    j.end = c->payload + c->size;
    c->argc = -1;
    if (!c->size) { c->argc = 0; return; }
    if (c->codec != BROOD_JSON || !brood__is(&j, '[')) return;
    if (!brood__is(&j, ']')) {
        do {
            offset = text.n;
            brood__add(&at, &offset, sizeof offset);
            if (!brood__string(&j, &text)) goto out;
            brood__add(&text, "", 1);
            n++;
        } while (brood__is(&j, ','));
        if (!brood__is(&j, ']')) goto out;
    }
    brood__space(&j);
    if (j.p != j.end) goto out;
    c->argc = n;
    if (n) {
        c->argv = (char **)brood__more(NULL, (size_t)n * sizeof *c->argv);
        for (i = 0; i < n; i++) {
            memcpy(&offset, at.p + (size_t)i * sizeof offset, sizeof offset);
            c->argv[i] = (char *)text.p + offset;
        }
        memset(&text, 0, sizeof text); /* it is argv's */
    }
out:
    brood__drop(&text);
    brood__drop(&at);
}

int brood_argc(brood_call *c) {
    if (c->argc == -2) brood__words(c);
    return c->argc;
}

const char *brood_arg(brood_call *c, int i) { return i >= 0 && i < brood_argc(c) ? c->argv[i] : ""; }

void brood_later(brood_call *c, int milliseconds, brood_handler handler, void *user) {
    c->later = handler;
    c->later_user = user;
    c->later_at = milliseconds < 0 ? -1 : brood_now() + milliseconds;
}

void *brood_keep(brood_call *c, void *data, void (*drop)(void *)) {
    if (c->drop) c->drop(c->kept);
    c->kept = data;
    c->drop = drop;
    return data;
}

/* ---- acting on frames; each returns 0, or -1 with *br set ---- */

static int brood__pong(brood *b, uint32_t token) {
    brood__buf j = {NULL, 0, 0};
    int64_t now;
    if (!b->nopen && !b->beat && !b->status[0]) { brood__push(b, BROOD__PONG, 0, token, 0, NULL, NULL, 0); return 0; }
    now = brood_now();
    brood__addf(&j, "{\"inflight\":%u", b->nopen);
    if (b->open) brood__addf(&j, ",\"oldest_ms\":%lld", (long long)(now - b->open->received));
    if (b->beat) brood__addf(&j, ",\"beat_ms\":%lld", (long long)(now - b->beat));
    if (b->status[0]) { brood__adds(&j, ",\"status\":"); brood__json_string(&j, b->status, sizeof b->status); }
    brood__adds(&j, "}");
    brood__push(b, BROOD__PONG, 0, token, BROOD_JSON, NULL, j.p, j.n);
    brood__drop(&j);
    return 0;
}

/* protocol: two whole numbers. */
static int brood__versions(brood__json v, int64_t *low, int64_t *high) {
    int whole1, whole2;
    return brood__is(&v, '[') && brood__number(&v, low, &whole1) && brood__is(&v, ',') && brood__number(&v, high, &whole2) && whole1 && whole2 &&
           brood__is(&v, ']');
}

static int brood__take_hello(brood *b, const brood__frame *f, brood__breach *br) {
    static const char *const names[] = {"max_message", "max_inflight", "chunk", "fds"};
    int64_t limits[4] = {(int64_t)BROOD__MAX_MESSAGE, 64, BROOD_CHUNK, 0}, low = 1, high = 1, n;
    brood__json j, v;
    brood__buf key = {NULL, 0, 0};
    int first = 1, got, i, whole, bad = 0;
    if (b->greeted) return (int)brood__break(br, "hello", 2);
    if (!f->size) return (int)brood__break(br, "hello", 4);
    j.p = f->payload;
    j.end = f->payload + f->size;
    while ((got = brood__member(&j, &first, &key, &v)) > 0) {
        if (*v.p == 'n') continue; /* null is absent */
        for (i = 0; i < 4; i++) {
            brood__json number = v;
            if (strcmp((char *)key.p, names[i])) continue;
            if (!brood__number(&number, &n, &whole) || !whole) bad = 1;
            else if (n) limits[i] = n;
        }
        if (!strcmp((char *)key.p, "protocol")) {
            if (*v.p != '[') bad = 1;
            else if (!brood__versions(v, &low, &high)) low = 2; /* no version that is known */
        }
    }
    brood__drop(&key);
    if (got < 0 || bad) return (int)brood__break(br, "json", BROOD__HEADER);
    if (low > 1 || high < 1 || limits[0] < 0 || limits[1] < 0 || limits[2] < BROOD_CHUNK || limits[3] < 0 || limits[3] > BROOD_MAX_FDS)
        return (int)brood__break(br, "hello", BROOD__HEADER);
    b->peer_max = (size_t)limits[0];
    b->peer_inflight = limits[1] > 65536 ? 65536 : (unsigned)limits[1];
    b->peer_chunk = BROOD_CHUNK; /* more is never sent at once */
    b->peer_fds = (int)limits[3];
    b->greeted = 1;
    return 0;
}

static brood_call *brood__find(brood *b, uint32_t id) {
    brood_call *c = b->open;
    while (c && c->id != id) c = c->next;
    return c;
}

static int brood__accept(brood *b, uint32_t id, uint32_t arg, int codec, const char *name, const unsigned char *data, size_t size, int *fds, int *nfds,
                         brood__breach *br) {
    const char *code = NULL;
    brood__command *command = NULL;
    brood_call *c;
    int i;
    if (brood__find(b, id)) return (int)brood__break(br, "call-id", 8);
    for (i = 0; i < b->ncommands && !command; i++)
        if (!strcmp(b->commands[i].name, name)) command = &b->commands[i];
    if (b->draining) code = "unavailable";
    else if (b->nopen >= b->max_inflight) code = "overloaded";
    else if (!command) code = "unknown_command";
    if (code) {
        brood__close(fds, nfds);
        brood__error(b, id, code, b->draining ? "draining" : command ? "too many calls are at work" : "there is no such command here", "no", 1);
        return 0;
    }
    c = (brood_call *)brood__zero(sizeof *c);
    c->b = b; c->id = id; c->codec = codec; c->size = size; c->argc = -2; c->later_at = -1; c->credit = BROOD__CREDIT;
    c->name = (char *)brood__copy(name, strlen(name));
    c->payload = brood__copy(data, size);
    c->received = brood_now();
    c->deadline = arg ? c->received + arg : 0;
    c->nfds = *nfds;
    memcpy(c->fds, fds, (size_t)*nfds * sizeof *fds);
    *nfds = 0;
    *b->open_end = c;
    b->open_end = &c->next;
    b->nopen++;
    command->handler(c, command->user);
    return 0;
}

/* A whole CALL or RESULT. */
static int brood__take_message(brood *b, const brood__frame *f, const char *name, const unsigned char *data, size_t size, int *fds, int *nfds,
                               brood__breach *br) {
    brood__own *own;
    if (f->type == BROOD__CALL) return brood__accept(b, f->id, f->arg, (int)f->codec, name, data, size, fds, nfds, br);
    if (!(own = brood__find_asked(b, f->id))) return (int)brood__break(br, "answer", 8);
    if (own->joined.n + size > b->max_message) {
        brood__close(fds, nfds);
        brood__own_end(b, own, "too_large", BROOD_TEXT, NULL, 0, NULL, 0);
        return 0;
    }
    brood__own_end(b, own, NULL, (int)f->codec, data, size, fds, *nfds);
    *nfds = 0;
    return 0;
}

/* Put a CALL or a RESULT together. One at a time may be unfinished, so one buffer is all that a peer can fill. */
static int brood__take_part(brood *b, const brood__frame *f, int *fds, int *nfds, brood__breach *br) {
    int more = f->flags & BROOD__MORE, got, n, came[BROOD_MAX_FDS];
    brood__buf whole;
    char name[256];
    if (b->partial && b->first.id == f->id && b->first.type == f->type) {
        if (f->nlen || f->arg || f->nfds || f->codec != b->first.codec) return (int)brood__break(br, "continuation", 12);
        if (b->partial_buf.n + f->size > b->max_message) return (int)brood__break(br, "message", 4);
        brood__add(&b->partial_buf, f->payload, f->size);
        if (more) return 0;
        whole = b->partial_buf; /* not b's any more: whoever is given it may end the connection */
        n = b->partial_nfds;
        memcpy(came, b->partial_fds, (size_t)n * sizeof *came);
        memset(&b->partial_buf, 0, sizeof b->partial_buf);
        b->partial = b->partial_nfds = 0;
        got = brood__take_message(b, &b->first, b->first_name, whole.p, whole.n, came, &n, br);
        brood__close(came, &n);
        brood__drop(&whole);
        return got;
    }
    memcpy(name, f->name, f->nlen);
    name[f->nlen] = 0;
    if (f->type == BROOD__CALL) {
        if (!f->nlen) return (int)brood__break(br, "name", 16);
        if (f->id % 2 == 0 || brood__find(b, f->id)) return (int)brood__break(br, "call-id", 8);
    } else if (!brood__find_asked(b, f->id)) {
        return (int)brood__break(br, "answer", 8);
    }
    if (!more) return brood__take_message(b, f, name, f->payload, f->size, fds, nfds, br);
    if (b->partial) return (int)brood__break(br, "interleave", 3);
    b->partial = 1;
    b->first = *f;
    memcpy(b->first_name, name, f->nlen + 1);
    brood__add(&b->partial_buf, f->payload, f->size);
    memcpy(b->partial_fds, fds, (size_t)*nfds * sizeof *fds);
    b->partial_nfds = *nfds;
    *nfds = 0;
    return 0;
}

/* Give a call up: CANCEL follows its last frame, and nothing is heard of it any more but its end. If nothing of it was
 * given out it is withdrawn. */
static void brood__abandon(brood *b, brood__own *own, const char *why) {
    if (own->abandoned) return;
    own->abandoned = why;
    if (own->whole) brood__push(b, BROOD__CANCEL, own->id, 0, 0, NULL, NULL, 0);
    else own->unsent = brood__withdraw(b, own->id);
}

static int brood__take_data(brood *b, const brood__frame *f, int *fds, int *nfds, brood__breach *br) {
    brood__own *own = brood__find_asked(b, f->id);
    int64_t cost = (int64_t)BROOD__HEADER + f->length + (int64_t)BROOD__FD_COST * f->nfds;
    char name[256];
    if (!own) return (int)brood__break(br, "answer", 8);
    if (cost > own->credit) return (int)brood__break(br, "credit", 4);
    own->credit -= cost;
    if (own->abandoned) return 0;
    memcpy(name, f->name, f->nlen);
    name[f->nlen] = 0;
    own->owed += cost;
    if (own->owed >= BROOD__GRANT) {
        brood__push(b, BROOD__WINDOW, f->id, (uint32_t)own->owed, 0, NULL, NULL, 0);
        if (b->ended) return 0;
        own->credit += own->owed;
        own->owed = 0;
    }
    if (own->piece) {
        own->piece(own->user, name, (int)f->codec, f->payload, f->size, fds, *nfds);
        *nfds = 0;
    } else if (!f->nlen) {
        if (own->joined.n + f->size > b->max_message) { brood__abandon(b, own, "too_large"); return 0; }
        if (!own->joined.n) own->joined_codec = (int)f->codec;
        brood__add(&own->joined, f->payload, f->size);
    }
    return 0;
}

static int brood__take_error(brood *b, const brood__frame *f, brood__breach *br) {
    brood__own *own = brood__find_asked(b, f->id);
    brood__json j, v;
    brood__buf key = {NULL, 0, 0}, message = {NULL, 0, 0};
    int first = 1, got = 0;
    char code[256];
    if (!f->nlen) return (int)brood__break(br, "name", 16);
    memcpy(code, f->name, f->nlen);
    code[f->nlen] = 0;
    j.p = f->payload;
    j.end = f->payload + f->size;
    while (f->size && (got = brood__member(&j, &first, &key, &v)) > 0)
        if (!strcmp((char *)key.p, "message") && *v.p != 'n' && !brood__string(&v, &message)) { got = -1; break; }
    brood__drop(&key);
    if (got < 0 || !own) {
        brood__drop(&message);
        return got < 0 ? (int)brood__break(br, "json", BROOD__HEADER + f->nlen) : (int)brood__break(br, "answer", 8);
    }
    brood__add(&message, "", 1);
    brood__own_end(b, own, strcmp(code, "lost") ? code : "error", BROOD_TEXT, message.p, message.n - 1, NULL, 0);
    brood__drop(&message);
    return 0;
}

static void brood__cancel(brood_call *c, int why) {
    if (!c->answered && !c->canceled) c->canceled = why;
}

static int brood__act(brood *b, const brood__frame *f, int *fds, int *nfds, brood__breach *br) {
    brood_call *c;
    if (!b->greeted && f->type != BROOD__HELLO) return (int)brood__break(br, "hello-first", 2);
    if (f->type >= 14 || !brood__shapes[f->type]) return 0;
    if (brood__shapes[f->type] & BROOD__S_WORKER) return (int)brood__break(br, "direction", 2);
    switch (f->type) {
    case BROOD__HELLO: return brood__take_hello(b, f, br);
    case BROOD__PING: return brood__pong(b, f->arg);
    case BROOD__PONG:
        if (f->size && !brood__json_object(f->payload, f->size)) return (int)brood__break(br, "json", BROOD__HEADER);
        return 0;
    case BROOD__CALL: case BROOD__RESULT: return brood__take_part(b, f, fds, nfds, br);
    case BROOD__DATA: return brood__take_data(b, f, fds, nfds, br);
    case BROOD__ERROR: return brood__take_error(b, f, br);
    case BROOD__CANCEL:
        if ((c = brood__find(b, f->id))) brood__cancel(c, BROOD_CANCELED);
        return 0;
    case BROOD__WINDOW:
        if (!(c = brood__find(b, f->id))) return 0;
        if (c->credit + f->arg > BROOD__MAX_CREDIT) return (int)brood__break(br, "window", 12);
        c->credit += f->arg;
        return 0;
    default: /* DRAIN */
        if (f->arg) b->grace = brood_now() + f->arg;
        b->draining = 1;
        return 0;
    }
}

/* Take the descriptors that a frame declares out of those that came. None may wait when a frame begins behind the bytes
 * they came with. */
static int brood__claim(brood *b, const brood__frame *f, int *fds, int *nfds, brood__breach *br) {
    int n = (int)f->nfds;
    if (n > b->max_fds || n > b->nfds || (b->nfds && b->read >= b->fds_until)) return (int)brood__break(br, "fds", 18);
    memcpy(fds, b->fds, (size_t)n * sizeof *fds);
    memmove(b->fds, b->fds + n, (size_t)(b->nfds - n) * sizeof *fds);
    b->nfds -= n;
    *nfds = n;
    return 0;
}

/* Act on the frames that are there. */
static void brood__frames(brood *b) {
    size_t at = 0;
    brood__breach br = {NULL, 0};
    while (!b->ended) {
        brood__frame f;
        int fds[BROOD_MAX_FDS], nfds = 0, ok;
        long n = brood__parse(b->in + at, b->held - at, BROOD_CHUNK, &f, &br);
        if (n == 0) break;
        ok = n > 0 && !brood__claim(b, &f, fds, &nfds, &br) && !brood__act(b, &f, fds, &nfds, &br);
        brood__close(fds, &nfds);
        if (!ok) { brood__ends(b, br.rule, b->read + br.at); return; }
        at += (size_t)n;
        b->read += (uint64_t)n;
    }
    if (b->ended) return;
    if (b->nfds > BROOD_MAX_FDS || (b->nfds && at == b->held)) { brood__ends(b, "fds", b->read); return; }
    memmove(b->in, b->in + at, b->held - at);
    b->held -= at;
}

/* One read. 1: there may be more. */
static int brood__receive(brood *b) {
    struct msghdr m;
    struct iovec v;
    struct cmsghdr *c;
    union { struct cmsghdr align; char bytes[CMSG_LEN(BROOD_MAX_FDS * sizeof(int))]; } control;
    ssize_t n;
    memset(&m, 0, sizeof m);
    v.iov_base = b->in + b->held;
    v.iov_len = BROOD__FRAME - b->held;
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    if (b->max_fds) {
        memset(&control, 0, sizeof control);
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof control.bytes;
    }
    n = recvmsg(b->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) return 1;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    for (c = n > 0 && b->max_fds ? CMSG_FIRSTHDR(&m) : NULL; c; c = CMSG_NXTHDR(&m, c)) {
        size_t i, count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        for (i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (!MSG_CMSG_CLOEXEC) fcntl(fd, F_SETFD, FD_CLOEXEC);
            if (b->nfds < 2 * BROOD_MAX_FDS) b->fds[b->nfds++] = fd;
            else close(fd);
        }
        b->fds_until = b->read + b->held + (uint64_t)n;
    }
    if (n > 0 && b->max_fds && m.msg_flags & MSG_CTRUNC) { brood__ends(b, "fds", b->read); return 0; }
    if (n <= 0) { brood__ends(b, NULL, 0); return 0; } /* reset is no different from the end */
    b->held += (size_t)n;
    brood__frames(b);
    return !b->ended && v.iov_len == (size_t)n;
}

/* Tell the calls that were withdrawn, the oldest first; not those that their ends may make, which have their turn. */
static void brood__end_unsent(brood *b) {
    brood__own *own, *oldest;
    unsigned n = 0;
    for (own = b->own; own; own = own->next) n += own->unsent != 0;
    for (; n > 0 && !b->ended; n--) {
        for (own = b->own, oldest = NULL; own; own = own->next)
            if (own->unsent) oldest = own;
        if (oldest) brood__own_unsent(b, oldest);
    }
}

/* Cancel what is out of time, and call again who waits. */
static void brood__wake(brood *b) {
    brood_call *c;
    brood__own *own, *next;
    int64_t now = brood_now();
    for (c = b->open; c && !b->ended; c = c->next) {
        brood_handler later = c->later;
        if (c->answered) continue;
        if (c->deadline && c->deadline <= now) brood__cancel(c, BROOD_TIMEOUT);
        else if (b->grace && b->grace <= now) brood__cancel(c, BROOD_CANCELED);
        if (!later || !(c->canceled || (c->later_at >= 0 && c->later_at <= now) || (c->wants_room && b->pieces < BROOD__LANE / 2 && c->credit > BROOD__HEADER)))
            continue;
        c->later = NULL;
        c->wants_room = 0;
        later(c, c->later_user);
    }
    for (own = b->own; own && !b->ended; own = next) {
        next = own->next;
        if (own->deadline && own->deadline <= now && !own->abandoned) brood__abandon(b, own, "timeout");
    }
    brood__end_unsent(b);
}

int brood_timeout(brood *b) {
    int64_t nearest = INT64_MAX, now;
    brood_call *c;
    brood__own *own;
#define BROOD__NEAREST(t) do { if ((t) > 0 && (t) < nearest) nearest = (t); } while (0)
    for (c = b->open; c; c = c->next) {
        if (c->answered) continue;
        if (!c->canceled) {
            BROOD__NEAREST(c->deadline);
            BROOD__NEAREST(b->grace);
        }
        if (c->later) BROOD__NEAREST(c->canceled ? 1 : c->later_at);
    }
    for (own = b->own; own; own = own->next) {
        if (own->unsent) BROOD__NEAREST(1);
        if (!own->abandoned) BROOD__NEAREST(own->deadline);
    }
#undef BROOD__NEAREST
    if (nearest == INT64_MAX) return -1;
    now = brood_now();
    return nearest <= now ? 0 : nearest - now > 60000 ? 60000 : (int)(nearest - now);
}

int brood_step(brood *b) {
    int i;
    for (i = 0; i < 16 && !b->ended && brood__receive(b); i++) {} /* others of the loop have their turn too */
    brood__wake(b);
    brood__flush(b);
    brood__wake(b); /* there may be room now */
    brood__flush(b);
    if (!b->ended && b->draining && !b->nopen && !brood__pending(b)) brood__ends(b, NULL, 0);
    return !b->ended;
}

int brood_fd(const brood *b) { return b->fd; }
short brood_events(const brood *b) { return (short)(brood__pending(b) ? POLLIN | POLLOUT : POLLIN); }
const char *brood_error(const brood *b) { return b->error; }
void brood_drain(brood *b) { b->draining = 1; }
int brood_draining(const brood *b) { return b->draining; }
void brood_beat(brood *b) { b->beat = brood_now(); }

int brood_event(brood *b, const char *name, int codec, const void *data, size_t size) {
    size_t cost;
    if (b->ended || !brood__valid_name(name)) return 0;
    cost = BROOD__HEADER + strlen(name) + size;
    if (cost > BROOD__FRAME || b->events + cost > BROOD__LANE) return 0;
    b->events += cost;
    brood__queue_out(b, BROOD__EVENT, 0, 0, (unsigned)codec, name, data, size, NULL, 0);
    return 1;
}

int brood_status(brood *b, const char *text) {
    size_t n = strlen(text);
    if (n > sizeof b->status - 1)
        for (n = sizeof b->status - 1; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80; n--) {}
    memcpy(b->status, text, n);
    b->status[n] = 0;
    return brood_event(b, "status", BROOD_TEXT, text, n);
}

int brood_retire(brood *b, const char *reason, const char *text) {
    brood__buf j = {NULL, 0, 0};
    if (b->ended || !brood__valid_name(reason)) return 0;
    if (b->retires) return 1; /* once is enough, and a thousand would fill memory */
    b->retires = 1;
    if (text) {
        brood__adds(&j, "{\"text\":");
        brood__json_string(&j, text, 8192);
        brood__adds(&j, "}");
    }
    brood__push(b, BROOD__RETIRE, 0, 0, text ? BROOD_JSON : 0, reason, j.p, j.n);
    brood__drop(&j);
    return 1;
}

uint32_t brood_ask(brood *b, const char *command, int codec, const void *data, size_t size, int64_t milliseconds, brood_piece piece, brood_end end,
                   void *user) {
    static const int64_t most = 0xFFFFFFFF; /* that a frame can say */
    brood__own *own;
    if (b->ended || !b->started || !brood__valid_name(command) || size > b->peer_max || b->nown >= b->peer_inflight) return 0;
    own = (brood__own *)brood__zero(sizeof *own);
    do {
        own->id = b->next_id;
        b->next_id = b->next_id < 0xFFFFFFFE ? b->next_id + 2 : 2;
    } while (brood__find_own(b, own->id));
    own->piece = piece; own->end = end; own->user = user; own->credit = BROOD__CREDIT;
    own->next = b->own;
    b->own = own;
    b->nown++;
    if (!milliseconds) { /* not to be sent: on the wire 0 is no limit */
        own->abandoned = "timeout";
        own->unsent = 1;
        return own->id;
    }
    own->deadline = milliseconds < 0 ? 0 : brood_now() + (milliseconds < INT64_MAX / 2 ? milliseconds : INT64_MAX / 2);
    brood__queue_out(b, BROOD__CALL, own->id, milliseconds < 0 ? 0 : (uint32_t)(milliseconds < most ? milliseconds : most), (unsigned)codec, command, data,
                     size, NULL, 0);
    return own->id;
}

void brood_unask(brood *b, uint32_t id) {
    brood__own *own = brood__find_own(b, id);
    if (own) brood__abandon(b, own, "canceled");
}

int brood_limits(brood *b, unsigned max_inflight, size_t max_message, int fds) {
    if (b->started || fds < 0 || fds > BROOD_MAX_FDS || (max_message && max_message < BROOD__MAX_MESSAGE)) return -1;
    if (max_inflight) b->max_inflight = max_inflight;
    if (max_message) b->max_message = max_message;
    b->max_fds = fds;
    return 0;
}

int brood_command(brood *b, const char *name, const char *help, brood_handler handler, void *user) {
    brood__command *c;
    int i;
    if (b->started || !brood__valid_name(name) || b->ncommands == BROOD__COMMANDS) return -1;
    for (i = 0; i < b->ncommands; i++)
        if (!strcmp(b->commands[i].name, name)) return -1;
    b->commands = (brood__command *)brood__more(b->commands, (size_t)(b->ncommands + 1) * sizeof *c);
    c = &b->commands[b->ncommands++];
    c->name = (char *)brood__copy(name, strlen(name));
    c->help = (char *)brood__copy(help ? help : "", help ? strlen(help) : 0);
    c->handler = handler;
    c->user = user;
    return 0;
}

int brood_start(brood *b) {
    brood__buf j = {NULL, 0, 0}, early;
    int i;
    if (b->started) return 0;
    brood__addf(&j, "{\"protocol\":[1,1],\"pid\":%ld,\"sdk\":\"brood-c/1.0.0\",\"max_message\":%llu,\"max_inflight\":%u,\"chunk\":65536,\"fds\":%d,\"commands\":[",
                (long)getpid(), (unsigned long long)b->max_message, b->max_inflight, b->max_fds);
    for (i = 0; i < b->ncommands; i++) {
        brood__adds(&j, i ? ",{\"name\":" : "{\"name\":");
        brood__json_string(&j, b->commands[i].name, 255);
        brood__adds(&j, ",\"help\":");
        brood__json_string(&j, b->commands[i].help, BROOD_CHUNK);
        brood__adds(&j, "}");
    }
    brood__adds(&j, "]}");
    if (j.n > BROOD_CHUNK) { brood__drop(&j); return -1; } /* shorten the help texts */
    early = b->urgent; /* a RETIRE from before: HELLO goes ahead of it */
    memset(&b->urgent, 0, sizeof b->urgent);
    b->started = 1;
    brood__push(b, BROOD__HELLO, 0, 0, BROOD_JSON, NULL, j.p, j.n);
    brood__add(&b->urgent, early.p, early.n);
    brood__drop(&early);
    brood__drop(&j);
    brood__flush(b);
    return 0;
}

void brood_ready(brood *b) {
    if (b->is_ready) return;
    b->is_ready = 1;
    brood__push(b, BROOD__READY, 0, 0, 0, NULL, NULL, 0); /* no flush, which frees calls: a handler may be here */
}

static int brood__term[2] = {-1, -1};

static void brood__on_term(int signal_) {
    int saved = errno;
    ssize_t n = write(brood__term[1], "", 1);
    (void)n;
    (void)signal_;
    errno = saved;
}

int brood_run(brood *b) {
    struct sigaction old, ours;
    struct pollfd p[2];
    int takes = !sigaction(SIGTERM, NULL, &old) && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL && brood__term[0] < 0 && !pipe(brood__term);
    if (brood_start(b)) return 1;
    brood_ready(b);
    if (takes) {
        int i;
        for (i = 0; i < 2; i++) {
            fcntl(brood__term[i], F_SETFD, FD_CLOEXEC);
            fcntl(brood__term[i], F_SETFL, O_NONBLOCK);
        }
        memset(&ours, 0, sizeof ours);
        ours.sa_handler = brood__on_term;
        ours.sa_flags = SA_RESTART;
        sigemptyset(&ours.sa_mask);
        sigaction(SIGTERM, &ours, NULL);
    }
    while (brood_step(b)) {
        p[0].fd = b->fd;
        p[0].events = brood_events(b);
        p[1].fd = takes ? brood__term[0] : -1;
        p[1].events = POLLIN;
        p[0].revents = p[1].revents = 0;
        if (poll(p, 2, brood_timeout(b)) > 0 && p[1].revents) {
            char c;
            while (read(brood__term[0], &c, 1) == 1) {}
            brood_drain(b);
        }
    }
    if (takes) {
        int n = 2;
        sigaction(SIGTERM, &old, NULL);
        brood__close(brood__term, &n);
        brood__term[0] = brood__term[1] = -1;
    }
    if (b->failed) fprintf(stderr, "brood: %s\n", b->error);
    return b->failed;
}

brood *brood_from(int fd) {
    brood *b = (brood *)brood__zero(sizeof *b);
    b->fd = fd;
    b->max_inflight = b->peer_inflight = 64;
    b->max_message = b->peer_max = BROOD__MAX_MESSAGE;
    b->peer_chunk = BROOD_CHUNK;
    b->next_id = 2;
    b->open_end = &b->open;
    b->in = (unsigned char *)brood__more(NULL, BROOD__FRAME);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    { int on = 1; setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on); }
#endif
    return b;
}

/* The descriptor that BROOD_FD=fd:inode names, or -1 and *why. The inode tells a program that has inherited the
 * variable alone, where the number means something else by now, from the worker itself. */
static int brood__attach(const char **why) {
    const char *value = getenv("BROOD_FD");
    char *end;
    unsigned long fd;
    unsigned long long inode;
    struct stat st;
    struct sockaddr_storage address;
    socklen_t size = sizeof address, typesize = sizeof(int);
    int type = 0;
    if (!value) { *why = "BROOD_FD is not set; start this program with `brood run`"; return -1; }
    *why = "BROOD_FD is not <fd>:<inode>, fd at least 3";
    if (*value < '0' || *value > '9') return -1;
    fd = strtoul(value, &end, 10);
    if (fd < 3 || fd > 999999999 || *end != ':' || end[1] < '0' || end[1] > '9') return -1;
    inode = strtoull(end + 1, &end, 10);
    if (*end) return -1;
    *why = "the descriptor that BROOD_FD names is another file; it was meant for a parent";
    if (fstat((int)fd, &st) || !S_ISSOCK(st.st_mode) || (unsigned long long)st.st_ino != inode) return -1;
    *why = "the descriptor that BROOD_FD names is no stream socket of AF_UNIX";
    if (getsockname((int)fd, (struct sockaddr *)&address, &size) || address.ss_family != AF_UNIX) return -1;
    if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &typesize) || type != SOCK_STREAM) return -1;
    unsetenv("BROOD_FD");
    return (int)fd;
}

brood *brood_new(void) {
    const char *why;
    int fd = brood__attach(&why);
    if (fd < 0) { fprintf(stderr, "brood: %s\n", why); return NULL; }
    return brood_from(fd);
}

void brood_free(brood *b) {
    int i;
    if (!b) return;
    if (!b->ended) brood__over(b); /* no shutdown: in a forked child the socket is the parent's too */
    while (b->open) {
        brood_call *c = b->open;
        b->open = c->next;
        brood__empty_call(c);
        free(c);
    }
    for (i = 0; i < b->ncommands; i++) { free(b->commands[i].name); free(b->commands[i].help); }
    free(b->commands);
    free(b->in);
    brood__drop(&b->urgent);
    brood__drop(&b->batch);
    close(b->fd);
    free(b);
}
#endif /* BROOD_IMPLEMENTATION */
