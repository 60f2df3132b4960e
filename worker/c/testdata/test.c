/* Tests of brood.h. Lines on standard input are answered one by one, so that whoever runs this holds the decoder
 * against vectors; with the argument `api` it tests the rest by itself, playing the supervisor. */
#define BROOD_IMPLEMENTATION
#include "../brood.h"

#include <assert.h>
#include <sys/wait.h>

static unsigned char *unhex(const char *s, size_t *n) {
    unsigned char *b = (unsigned char *)malloc(strlen(s) / 2 + 1); /* exactly what is there, so that a byte too many is seen */
    unsigned u;
    for (*n = 0; sscanf(s, "%2x", &u) == 1; s += 2) b[(*n)++] = (unsigned char)u;
    return b;
}

static void hex(const unsigned char *p, size_t n) {
    while (n--) printf("%02x", *p++);
}

static void parse(const char *text) {
    size_t n, size;
    unsigned char *all = unhex(text, &size), *b;
    brood__frame f;
    brood__breach br;
    long got = 0;
    for (n = 0; n <= size; n++) { /* as it would come, a byte at a time */
        b = (unsigned char *)malloc(n + !n);
        memcpy(b, all, n);
        got = brood__parse(b, n, BROOD_CHUNK, &f, &br);
        if (got < 0) printf("breach %s %u at %zu\n", br.rule, br.at, n);
        if (got > 0) {
            printf("frame %u %u %u %u %u %u [%.*s] ", f.type, f.flags, f.id, f.arg, f.nfds, f.codec, (int)f.nlen, (const char *)f.name);
            hex(f.payload, f.size);
            printf(" at %zu\n", n);
        }
        free(b);
        if (got) break;
    }
    if (!got) puts("more");
    free(all);
}

static void json(const char *text) {
    size_t n;
    unsigned char *b = unhex(text, &n);
    printf("%s\n", brood__json_object(b, n) ? "object" : "no");
    free(b);
}

/* ---- the supervisor's end ---- */

static brood *b;
static int peer;

static void put(unsigned type, uint32_t id, uint32_t arg, unsigned codec, const char *name, const void *data, size_t size) {
    unsigned char h[BROOD__HEADER];
    brood__header(h, type, 0, (uint32_t)(strlen(name) + size), id, arg, strlen(name), 0, codec);
    assert(send(peer, h, sizeof h, 0) == (ssize_t)sizeof h);
    assert(send(peer, name, strlen(name), 0) == (ssize_t)strlen(name));
    if (size) assert(send(peer, data, size, 0) == (ssize_t)size);
}

static unsigned char in[1 << 17];
static size_t held;

/* The worker's next frame, which has that type and id. */
static brood__frame take(unsigned type, uint32_t id) {
    static unsigned char frame[BROOD__FRAME];
    brood__frame f;
    brood__breach br;
    int turns;
    for (turns = 0; turns < 1000; turns++) {
        long n = brood__parse(in, held, BROOD_CHUNK, &f, &br);
        assert(n >= 0);
        if (n > 0) {
            memcpy(frame, in, (size_t)n);
            memmove(in, in + n, held - (size_t)n);
            held -= (size_t)n;
            brood__parse(frame, (size_t)n, BROOD_CHUNK, &f, &br);
            if (f.type != type || f.id != id) fprintf(stderr, "got %u %u, want %u %u\n", f.type, f.id, type, id);
            assert(f.type == type && f.id == id);
            return f;
        }
        brood_step(b);
        n = (long)recv(peer, in + held, sizeof in - held, MSG_DONTWAIT);
        if (n > 0) held += (size_t)n;
        else { struct pollfd p = {0, POLLIN, 0}; p.fd = peer; poll(&p, 1, 5); }
    }
    assert(!"nothing came");
    return f;
}

static void begin(void) {
    int fds[2];
    assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    peer = fds[0];
    held = 0;
    b = brood_from(fds[1]);
    assert(b && fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
}

static void greet(const char *hello) {
    assert(!brood_start(b));
    brood_ready(b);
    put(BROOD__HELLO, 0, 0, BROOD_JSON, "", hello, strlen(hello));
    take(BROOD__HELLO, 0);
    take(BROOD__READY, 0);
}

static void end_(void) {
    close(peer);
    while (brood_step(b)) {}
    brood_free(b);
}

static int dropped, seen;
static void drop(void *p) { dropped++; free(p); }

static void wait_(brood_call *call, void *user) {
    if (brood_canceled(call)) { seen++; brood_stop(call); return; }
    if (!brood_kept(call)) brood_keep(call, malloc(10), drop);
    brood_later(call, -1, wait_, user);
}

static void never(brood_call *call, void *user) { (void)call; (void)user; }

static void words(brood_call *call, void *user) {
    char text[64];
    (void)user;
    snprintf(text, sizeof text, "%d:%s:%s", brood_argc(call), brood_arg(call, 0), brood_arg(call, brood_argc(call) - 1));
    brood_text(call, text);
}

static char answer[256];
static void answered(void *user, const char *code, int codec, const unsigned char *data, size_t size, const int *fds, int nfds) {
    (void)user; (void)fds; (void)nfds;
    assert(!code || !data || !data[size]);
    snprintf(answer, sizeof answer, "%s %d %.*s", code ? code : "ok", codec, (int)size, (const char *)data);
}

static void test_register(void) {
    char name[300];
    int i;
    begin();
    memset(name, 'n', sizeof name);
    name[256] = 0;
    assert(brood_command(b, name, NULL, never, NULL) && brood_command(b, "two words", NULL, never, NULL) && brood_command(b, "", NULL, never, NULL));
    assert(!brood_command(b, "a", "quotes \" and \n control", never, NULL) && brood_command(b, "a", NULL, never, NULL));
    for (i = 1; i < 256; i++) { snprintf(name, sizeof name, "c%d", i); assert(!brood_command(b, name, NULL, never, NULL)); }
    assert(brood_command(b, "one-too-many", NULL, never, NULL));
    assert(brood_limits(b, 0, 1000, 0) && brood_limits(b, 0, 0, 17) && !brood_limits(b, 2, 0, 3));
    assert(brood_status(b, "early")); /* it comes behind HELLO */
    assert(!brood_start(b) && brood_command(b, "late", NULL, never, NULL) && brood_limits(b, 1, 0, 0));
    { brood__frame f = take(BROOD__HELLO, 0); assert(brood__json_object(f.payload, f.size)); }
    take(BROOD__EVENT, 0);
    end_();
}

static void test_calls(void) {
    static const char list[] = "[\"a\\u00e9\\ud83d\\ude00\\n\",\"\",\"z\"]";
    brood__frame f;
    begin();
    assert(!brood_command(b, "wait", "", wait_, NULL) && !brood_command(b, "words", "", words, NULL) && !brood_command(b, "never", "", never, NULL));
    greet("{\"fds\":0,\"future\":{\"a\":[]}}");
    put(BROOD__CALL, 1, 0, BROOD_JSON, "words", list, strlen(list));
    f = take(BROOD__RESULT, 1);
    assert(f.size == 2 + 8 + 2 && !memcmp(f.payload, "3:a\xc3\xa9\xf0\x9f\x98\x80\n:z", 12));
    put(BROOD__CALL, 1, 0, BROOD_JSON, "words", "[1]", 3);
    assert(!memcmp(take(BROOD__RESULT, 1).payload, "-1::", 4));
    put(BROOD__CALL, 1, 0, 0, "wait", "", 0);
    put(BROOD__CALL, 3, 20, 0, "wait", "", 0);
    f = take(BROOD__ERROR, 3);
    assert(!memcmp(f.name, "timeout", 7) && dropped == 1 && seen == 1);
    assert(brood_timeout(b) == -1); /* nothing is due */
    put(BROOD__CANCEL, 1, 0, 0, "", "", 0);
    f = take(BROOD__ERROR, 1);
    assert(!memcmp(f.name, "canceled", 8) && dropped == 2);
    put(BROOD__CALL, 5, 0, 0, "wait", "", 0); /* these are at work when the supervisor goes */
    put(BROOD__CALL, 7, 0, 0, "never", "", 0);
    put(BROOD__PING, 0, 9, 0, "", "", 0);
    assert(take(BROOD__PONG, 0).arg == 9);
    end_();
    assert(dropped == 3 && seen == 3);
}

static void test_asks(void) {
    static const char no[] = "{\"details\":[1,{\"message\":2}],\"message\":\"m\\\"\"}";
    uint32_t id;
    begin();
    assert(!brood_ask(b, "early", 0, "", 0, -1, NULL, answered, NULL));
    greet("{\"max_inflight\":2}");
    put(BROOD__PING, 0, 1, 0, "", "", 0);
    take(BROOD__PONG, 0);
    id = brood_ask(b, "lookup", BROOD_TEXT, "key", 3, -1, NULL, answered, NULL);
    assert(id == 2 && brood_ask(b, "lookup", 0, "", 0, -1, NULL, answered, NULL) == 4 && !brood_ask(b, "third", 0, "", 0, -1, NULL, answered, NULL));
    take(BROOD__CALL, 2);
    take(BROOD__CALL, 4);
    put(BROOD__DATA, 2, 0, BROOD_TEXT, "", "va", 2);
    put(BROOD__DATA, 2, 0, BROOD_JSON, "progress", "{}", 2);
    put(BROOD__RESULT, 2, 0, BROOD_BYTES, "", "lue", 3);
    put(BROOD__PING, 0, 1, 0, "", "", 0);
    take(BROOD__PONG, 0);
    assert(!strcmp(answer, "ok 0 value"));
    put(BROOD__ERROR, 4, 0, BROOD_JSON, "no_key", no, strlen(no));
    put(BROOD__PING, 0, 1, 0, "", "", 0);
    take(BROOD__PONG, 0);
    assert(!strcmp(answer, "no_key 2 m\""));
    id = brood_ask(b, "slow", 0, "", 0, 10, NULL, answered, NULL);
    take(BROOD__CALL, id);
    take(BROOD__CANCEL, id);
    put(BROOD__RESULT, id, 0, BROOD_TEXT, "", "too late", 8);
    put(BROOD__PING, 0, 1, 0, "", "", 0);
    take(BROOD__PONG, 0);
    assert(!strncmp(answer, "timeout", 7));
    id = brood_ask(b, "lost", 0, "", 0, -1, NULL, answered, NULL);
    end_();
    assert(!strncmp(answer, "lost", 4));
}

/* Whatever was put has been acted on, and whatever waited was written. */
static void settle(void) {
    put(BROOD__PING, 0, 1, 0, "", "", 0);
    take(BROOD__PONG, 0);
}

static int told;
static void end_told(void *user, const char *code, int codec, const unsigned char *data, size_t size, const int *fds, int nfds) {
    told++;
    answered(user, code, codec, data, size, fds, nfds);
}

static void warm(brood_call *call, void *user) {
    if (!user) { brood_later(call, -1, warm, b); return; }
    brood_stop(call);
    brood_ready(brood_worker(call));
}

/* A handler that waited is the one that finds the worker ready. */
static void test_ready(void) {
    begin();
    assert(!brood_command(b, "warm", "", warm, NULL) && !brood_command(b, "words", "", words, NULL));
    assert(!brood_start(b));
    put(BROOD__HELLO, 0, 0, BROOD_JSON, "", "{}", 2);
    take(BROOD__HELLO, 0);
    put(BROOD__CALL, 1, 0, 0, "warm", "", 0);
    put(BROOD__CALL, 3, 0, 0, "warm", "", 0);
    put(BROOD__CANCEL, 1, 0, 0, "", "", 0);
    put(BROOD__CANCEL, 3, 0, 0, "", "", 0);
    take(BROOD__READY, 0);
    take(BROOD__ERROR, 1);
    take(BROOD__ERROR, 3);
    put(BROOD__CALL, 5, 0, 0, "words", "", 0);
    take(BROOD__RESULT, 5);
    end_();
    begin(); /* before the start: behind HELLO, and a loop that polls first is told to step */
    brood_ready(b);
    assert(!brood_start(b) && take(BROOD__HELLO, 0).size);
    take(BROOD__READY, 0);
    end_();
    begin();
    assert(!brood_start(b));
    brood_ready(b);
    assert(brood_events(b) & POLLOUT);
    take(BROOD__HELLO, 0);
    take(BROOD__READY, 0);
    end_();
}

/* The peer reads nothing, and the lane is full. */
static void fill_lane(void) {
    while (!b->ended) brood__push(b, BROOD__PONG, 0, 0, 0, NULL, NULL, 0);
}

static void end_fills(void *user, const char *code, int codec, const unsigned char *data, size_t size, const int *fds, int nfds) {
    size_t i;
    int extra;
    assert(!code && nfds == 1 && size == 2000);
    fill_lane();
    for (i = 0; i < size; i++) assert(data[i] == 'x');
    assert(fcntl(fds[0], F_GETFD) >= 0); /* it is ours, and so is whatever gets its number after this */
    close(fds[0]);
    extra = fcntl(0, F_DUPFD, fds[0]);
    assert(extra == fds[0]);
    *(int *)user = extra;
    (void)codec;
}

static void put_bytes(const unsigned char *p, size_t n, int fd) {
    struct msghdr m;
    struct iovec v;
    union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } control;
    memset(&m, 0, sizeof m);
    v.iov_base = (void *)p;
    v.iov_len = n;
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    if (fd >= 0) {
        struct cmsghdr *c;
        memset(&control, 0, sizeof control);
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof control.bytes;
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    assert(sendmsg(peer, &m, 0) == (ssize_t)n);
}

/* The connection ends while an answer of several frames, with a descriptor, is being delivered. */
static void test_end_within(void) {
    unsigned char frame[BROOD__HEADER + 1000];
    int kept = -1;
    begin();
    assert(!brood_limits(b, 0, 0, 1));
    greet("{}");
    assert(brood_ask(b, "x", 0, "", 0, -1, NULL, end_fills, &kept) == 2);
    take(BROOD__CALL, 2);
    memset(frame, 'x', sizeof frame);
    brood__header(frame, BROOD__RESULT, BROOD__MORE, 1000, 2, 0, 0, 1, 0);
    put_bytes(frame, sizeof frame, 0);
    brood__header(frame, BROOD__RESULT, 0, 1000, 2, 0, 0, 0, 0);
    put_bytes(frame, sizeof frame, -1);
    while (brood_step(b)) {}
    assert(!strncmp(brood_error(b), "rule unread", 11));
    assert(kept >= 0 && fcntl(kept, F_GETFD) >= 0);
    close(kept);
    close(peer);
    brood_free(b);
}

/* Descriptors that no frame has claimed by the end of what they came with are nobody's. */
static void test_late_claim(void) {
    unsigned char frames[2 * BROOD__HEADER + 1];
    begin();
    assert(!brood_limits(b, 0, 0, 1) && !brood_command(b, "a", "", never, NULL));
    greet("{}");
    brood__header(frames, BROOD__PING, 0, 0, 0, 1, 0, 0, 0);
    brood__header(frames + BROOD__HEADER, BROOD__CALL, 0, 1, 1, 0, 1, 1, 0);
    frames[2 * BROOD__HEADER] = 'a';
    put_bytes(frames, BROOD__HEADER / 2, 0); /* with half a PING, which declares none */
    assert(brood_step(b));
    put_bytes(frames + BROOD__HEADER / 2, sizeof frames - BROOD__HEADER / 2, -1);
    assert(!brood_step(b) && !strncmp(brood_error(b), "rule fds", 8));
    end_();
}

/* CANCEL follows the last frame of its call; one of which nothing was given out is withdrawn. */
static void test_unask(void) {
    static unsigned char big[1 << 20];
    brood__frame f;
    uint32_t id, other;
    int n;
    begin();
    greet("{}");
    settle();
    told = 0;
    id = brood_ask(b, "seen", 0, "", 0, -1, NULL, end_told, NULL);
    take(BROOD__CALL, id);
    brood_unask(b, id);
    brood_unask(b, id);
    take(BROOD__CANCEL, id);
    put(BROOD__RESULT, id, 0, 0, "", "done", 4);
    settle();
    assert(told == 1 && !strncmp(answer, "canceled", 8));
    brood_unask(b, id); /* it is over */
    id = brood_ask(b, "unseen", 0, "", 0, -1, NULL, end_told, NULL);
    other = brood_ask(b, "other", 0, "", 0, -1, NULL, end_told, NULL);
    brood_unask(b, other);
    other = brood_ask(b, "other", 0, "", 0, -1, NULL, end_told, NULL);
    assert(told == 1 && brood_timeout(b) == 0); /* not from within, but soon */
    assert(brood_step(b) && told == 2 && !strcmp(answer, "canceled 2 given up before it was sent"));
    take(BROOD__CALL, id);
    take(BROOD__CALL, other);
    brood_unask(b, id);
    take(BROOD__CANCEL, id);
    put(BROOD__ERROR, id, 0, 0, "canceled", "", 0);
    put(BROOD__RESULT, other, 0, 0, "", "", 0);
    settle();
    assert(told == 4);

    id = brood_ask(b, "big", 0, big, sizeof big, -1, NULL, end_told, NULL); /* more than the socket takes at once */
    other = brood_ask(b, "small", 0, "", 0, -1, NULL, end_told, NULL);
    for (n = 0; n < 100 && !(b->longs.first && b->longs.first->sent); n++) brood_step(b);
    assert(b->longs.first && b->longs.first->sent && b->longs.first->sent < sizeof big);
    brood_unask(b, id);
    take(BROOD__CALL, other); /* the urgent lane is ahead of this: a CANCEL there would be seen now */
    do {
        f = take(BROOD__CALL, id);
    } while (f.flags & BROOD__MORE);
    take(BROOD__CANCEL, id);
    put(BROOD__ERROR, id, 0, 0, "canceled", "", 0);
    put(BROOD__RESULT, other, 0, 0, "", "", 0);
    settle();
    assert(told == 6);

    id = brood_ask(b, "never", 0, "", 0, -1, NULL, end_told, NULL);
    brood_unask(b, id);
    fill_lane(); /* the end of the connection does not change what it came to */
    assert(told == 7 && !strncmp(answer, "canceled", 8));
    end_();

    begin(); /* an answer to a call that is still waiting */
    greet("{}");
    settle();
    id = brood_ask(b, "early", 0, "", 0, -1, NULL, end_told, NULL);
    put(BROOD__RESULT, id, 0, 0, "", "", 0);
    brood_step(b);
    assert(!strncmp(brood_error(b), "rule answer", 11) && told == 8 && !strncmp(answer, "lost", 4));
    end_();
}

static void ask_again(void *user, const char *code, int codec, const unsigned char *data, size_t size, const int *fds, int nfds) {
    assert(!strcmp(code, "timeout"));
    brood_ask(b, "again", 0, "", 0, 0, NULL, ask_again, user);
    (*(int *)user)++;
    (void)codec; (void)data; (void)size; (void)fds; (void)nfds;
}

/* brood_ask takes what brood_time_left says. */
static void test_ask_time(void) {
    uint32_t id;
    int again = 0;
    begin();
    greet("{}");
    settle();
    told = 0;
    id = brood_ask(b, "endless", 0, "", 0, -1, NULL, end_told, NULL);
    assert(take(BROOD__CALL, id).arg == 0 && brood_timeout(b) == -1);
    put(BROOD__RESULT, id, 0, 0, "", "", 0);
    settle();
    assert(told == 1);
    id = brood_ask(b, "over", 0, "", 0, 0, NULL, end_told, NULL);
    assert(id && told == 1 && brood_timeout(b) == 0);
    assert(brood_step(b) && told == 2 && !strcmp(answer, "timeout 2 given up before it was sent"));
    settle(); /* nothing of it came */
    id = brood_ask(b, "long", 0, "", 0, INT64_MAX, NULL, end_told, NULL);
    assert(take(BROOD__CALL, id).arg == 0xFFFFFFFF);
    put(BROOD__RESULT, id, 0, 0, "", "", 0);
    settle();
    id = brood_ask(b, "longer", 0, "", 0, (int64_t)1 << 32, NULL, end_told, NULL);
    assert(take(BROOD__CALL, id).arg == 0xFFFFFFFF);
    put(BROOD__RESULT, id, 0, 0, "", "", 0);
    settle();
    assert(told == 4 && !strncmp(answer, "ok", 2));
    assert(brood_ask(b, "over", 0, "", 0, 0, NULL, ask_again, &again));
    settle(); /* whoever asks again and again has no more than its turn, and nothing is sent */
    assert(again > 0);
    brood_free(b);
    close(peer);
}

/* Read whatever waits, without a look at it. */
static void discard(void) {
    while (brood__pending(b)) {
        brood_step(b);
        while (recv(peer, in, sizeof in, MSG_DONTWAIT) > 0) {}
    }
}

/* What it has to say itself, and the peer does not read, is bounded. */
static void test_own_words(void) {
    int events, again, i;
    char text[200];
    begin();
    greet("{}");
    settle();
    for (events = 0; events < 20000 && brood_event(b, "log", 0, "", 0); events++) {}
    assert(events == BROOD__LANE / (BROOD__HEADER + 3));
    discard();
    memset(text, 'x', sizeof text);
    assert(brood_event(b, "log", 0, text, sizeof text));
    take(BROOD__EVENT, 0);
    for (again = 0; again < 20000 && brood_event(b, "log", 0, "", 0); again++) {}
    assert(again == events); /* there is room again, as much as there was */
    discard();
    for (i = 0; i < 10000; i++) assert(brood_retire(b, "memory", "more of it than there is"));
    take(BROOD__RETIRE, 0);
    settle(); /* there was one */
    for (i = 0; i < 14000; i++) brood__push(b, BROOD__CANCEL, 2, 0, 0, NULL, NULL, 0); /* of as many calls of its own */
    for (i = 0; i < 2; i++) brood__push(b, BROOD__PONG, 0, 0, 0, NULL, NULL, 0);
    assert(!b->ended); /* that is not the peer's fault */
    discard();
    end_();
}

/* What a forked child does with its copy is no affair of the parent's. */
static void test_fork(void) {
    int status;
    pid_t child;
    begin();
    assert(!brood_command(b, "never", "", never, NULL));
    greet("{}");
    put(BROOD__CALL, 1, 0, 0, "never", "", 0);
    settle();
    child = fork();
    assert(child >= 0);
    if (!child) { brood_free(b); _exit(0); }
    assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    settle();
    end_();
}

static void test_attach(void) {
    static const char *const bad[] = {"", "3", ":", "3:", ":5", "three:5", "-1:5", "3:5:7", " 3:5", "1048576:5", "2:5", "0:0", "3:5 ", "+3:5"};
    const char *why;
    char text[64];
    struct stat st;
    int fds[2], i;
    unsetenv("BROOD_FD");
    assert(brood__attach(&why) < 0);
    for (i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
        setenv("BROOD_FD", bad[i], 1);
        assert(brood__attach(&why) < 0);
    }
    assert(!socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) && !fstat(fds[0], &st));
    snprintf(text, sizeof text, "%d:%llu", fds[0], (unsigned long long)st.st_ino);
    setenv("BROOD_FD", text, 1);
    assert(brood__attach(&why) < 0 && !fstat(fds[0], &st));
    close(fds[0]); close(fds[1]);
    assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds) && !fstat(fds[0], &st));
    snprintf(text, sizeof text, "%d:%llu", fds[0], (unsigned long long)st.st_ino + 1);
    setenv("BROOD_FD", text, 1);
    assert(brood__attach(&why) < 0);
    snprintf(text, sizeof text, "%d:%llu", fds[0], (unsigned long long)st.st_ino);
    setenv("BROOD_FD", text, 1);
    assert(brood__attach(&why) == fds[0] && !getenv("BROOD_FD"));
    close(fds[0]); close(fds[1]);
}

int main(int argc, char **argv) {
    static char line[1 << 18];
    if (argc > 1 && !strcmp(argv[1], "api")) {
        test_register();
        test_calls();
        test_asks();
        test_ready();
        test_end_within();
        test_late_claim();
        test_unask();
        test_ask_time();
        test_own_words();
        test_fork();
        test_attach();
        puts("done");
        return 0;
    }
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "parse ", 6)) parse(line + 6);
        if (!strncmp(line, "json ", 5)) json(line + 5);
        fflush(stdout);
    }
    return 0;
}
