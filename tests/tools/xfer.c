/* SPDX-License-Identifier: MIT */
/*
 * xfer: moves a stream whose every byte is known, and says what arrived.
 *
 *	xfer listen  ADDR PORT [OPTION...]	PORT 0 is any; "port N" is the first line printed
 *	xfer connect ADDR PORT [OPTION...]	ADDR "unix" makes PORT a path, for both; "vsock" is
 *						any CID to listen, the host's to connect
 *
 *	--send N	bytes to send on each connection, then shut down our side (default 0)
 *	--random	each connection sends a random number of bytes from 8 to N instead
 *	--echo		send back what comes until it ends
 *	--count N	connections, all at once (connect) or before exit (listen); 0 is for ever
 *	--seed S	of the first connection; each further one has the next
 *	--answer	send only after the peer's end of stream
 *	--delay MS	wait before sending (with --answer: after the end of stream)
 *	--rx-pause MS	wait before the first read
 *	--rx-rate B	read at most so many bytes a second
 *	--tx-rate B	send at most so many bytes a second
 *	--rcvbuf N	SO_RCVBUF, set before the connection
 *	--no-fin	never shut down: close when the peer has ended
 *	--rst-rx N	reset the connection once N bytes have come (0: at once)
 *	--rst-tx N	reset the connection once N bytes have been sent
 *	--idle S	give up on a connection that makes no progress for so long (default 60)
 *	--timeout S	end all after so long, with status 3 (default 600)
 *
 * A stream is one of 64-bit little-endian words: the first is the magic and the seed, word i is a
 * mix of seed and i. So a receiver can tell the first wrong byte of whatever it gets, and says:
 *
 *	{"n":0,"end":"eof","error":"","connect_ms":0.2,"ms":12.1,
 *	 "tx":N,"tx_hash":"HEX","rx":N,"rx_hash":"HEX","bad_at":-1}
 *
 * end is eof (the peer ended in order, and all was sent), reset, refused, timeout, error, or aborted
 * (by our own --rst). The hash is FNV-1a over words. Exit status 0: every connection ended in eof
 * or aborted, with nothing bad.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/vm_sockets.h>
#endif

#define MAGIC 0x6e74ULL
#define CHUNK (256 * 1024)
#define STACK_SIZE (512 * 1024)

struct options {
	bool listen, echo, answer, no_fin, random;
	uint64_t send, seed, rx_rate, tx_rate;
	int64_t rst_rx, rst_tx; /* -1: never */
	unsigned count, delay_ms, rx_pause_ms, idle_s, timeout_s;
	int rcvbuf;
};

/* What one direction of a connection has seen: 8 bytes at a time are hashed and compared. */
struct tally {
	uint64_t bytes; /* all of them */
	uint64_t hash;
	uint64_t seed;  /* of the stream, from its first word */
	uint64_t word;  /* the bytes since the last whole word */
	int64_t bad_at; /* offset of the first wrong word, or -1 */
	bool ours;      /* sent by us: counted and hashed only */
};

struct conn {
	const struct options *opt;
	unsigned n;
	int fd;
	double connect_ms, began;
	struct tally tx, rx;
	pthread_mutex_t lock;
	pthread_cond_t rx_ended;
	bool rx_over;
	const char *end; /* set by the first that knows */
	int error;
};

static pthread_mutex_t print_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned failures;

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void sleep_ms(double ms)
{
	struct timespec ts = {(time_t)(ms / 1e3), 0};

	ts.tv_nsec = (long)((ms - (double)ts.tv_sec * 1e3) * 1e6);
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static uint64_t stream_word(uint64_t seed, uint64_t i)
{
	uint64_t z = (seed << 20) + i * 0x9e3779b97f4a7c15ULL;

	if (i == 0)
		return MAGIC << 48 | seed;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t load64le(const uint8_t *p)
{
	uint64_t word = 0;

	for (int i = 7; i >= 0; i--)
		word = word << 8 | p[i];
	return word;
}

static void store64le(uint8_t *p, uint64_t word)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(word >> (8 * i));
}

static void tally_init(struct tally *t)
{
	*t = (struct tally){.hash = 0xcbf29ce484222325ULL, .bad_at = -1};
}

/* Whole words. Its own bytes a sender need not compare. */
static void tally_words(struct tally *t, const uint8_t *data, size_t words)
{
	uint64_t hash = t->hash, i = t->bytes / 8;

	if (i == 0 && words)
		t->seed = load64le(data) & 0xffffffffffffULL;
	for (size_t n = 0; n < words; n++, i++, data += 8) {
		uint64_t word = load64le(data);

		hash = (hash ^ word) * 0x100000001b3ULL;
		hash ^= hash >> 29;
		if (!t->ours && t->bad_at < 0 && word != stream_word(t->seed, i))
			t->bad_at = (int64_t)(i * 8);
	}
	t->hash = hash;
}

static void tally_add(struct tally *t, const uint8_t *data, size_t len)
{
	while (len > 0) {
		unsigned have = t->bytes % 8;
		uint8_t whole[8];

		if (have == 0 && len >= 8) {
			tally_words(t, data, len / 8);
			t->bytes += len & ~(size_t)7;
			data += len & ~(size_t)7;
			len %= 8;
			continue;
		}
		t->word = have == 0 ? *data : t->word | (uint64_t)*data << (8 * have);
		data++, len--;
		if (have == 7) {
			store64le(whole, t->word);
			tally_words(t, whole, 1);
		}
		t->bytes++;
	}
}

/* Counts a rest of less than a word too. */
static void tally_end(struct tally *t)
{
	unsigned rest = t->bytes % 8;
	uint64_t want;

	if (rest == 0)
		return;
	t->hash = (t->hash ^ t->word ^ (uint64_t)rest << 56) * 0x100000001b3ULL;
	want = stream_word(t->seed, t->bytes / 8) & ((1ULL << (8 * rest)) - 1);
	if (t->bytes > 8 && t->bad_at < 0 && t->word != want)
		t->bad_at = (int64_t)(t->bytes - rest);
}

static void conn_fail(struct conn *c, const char *end, int error)
{
	pthread_mutex_lock(&c->lock);
	if (!c->end) {
		c->end = end;
		c->error = error;
	}
	pthread_mutex_unlock(&c->lock);
}

static void conn_error(struct conn *c, int error)
{
	if (error == ECONNRESET || error == EPIPE)
		conn_fail(c, "reset", error);
	else if (error == EAGAIN || error == ETIMEDOUT)
		conn_fail(c, "timeout", error);
	else if (error == ECONNREFUSED)
		conn_fail(c, "refused", error);
	else
		conn_fail(c, "error", error);
}

/* A reset, now: a thread that is blocked in a write on the socket would put off that of a close. */
static void conn_abort(struct conn *c)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	struct linger hard = {1, 0};

	conn_fail(c, "aborted", 0);
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (connect(c->fd, &nobody, sizeof(nobody)) < 0)
		shutdown(c->fd, SHUT_RDWR);
}

static bool conn_over(struct conn *c)
{
	bool over;

	pthread_mutex_lock(&c->lock);
	over = c->end != NULL;
	pthread_mutex_unlock(&c->lock);
	return over;
}

/* Sleeps so that bytes since `began` keep to a rate. */
static void pace(double began, uint64_t bytes, uint64_t rate)
{
	double due = began + (double)bytes * 1e3 / (double)rate;

	if (due > now_ms())
		sleep_ms(due - now_ms());
}

static size_t piece(uint64_t rate, uint64_t left)
{
	size_t len = rate && rate / 10 < CHUNK ? (size_t)(rate / 10) + 1 : CHUNK;

	return left < len ? (size_t)left : len;
}

static bool write_all(struct conn *c, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(c->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			conn_error(c, errno);
			return false;
		}
		tally_add(&c->tx, data, (size_t)n);
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static uint64_t size_of(const struct conn *c)
{
	const struct options *opt = c->opt;

	if (!opt->random || opt->send <= 8)
		return opt->send;
	return 8 + stream_word(opt->seed + c->n, 0x5eed) % (opt->send - 7);
}

static void send_stream(struct conn *c)
{
	const struct options *opt = c->opt;
	uint64_t left = size_of(c), i = 0;
	double began = now_ms();
	uint8_t *chunk = malloc(CHUNK);

	while (left > 0 && !conn_over(c)) {
		size_t len = piece(opt->tx_rate, left);

		len = len > 8 ? len & ~(size_t)7 : len;
		if (opt->rst_tx >= 0 && (uint64_t)opt->rst_tx - c->tx.bytes < len)
			len = (size_t)((uint64_t)opt->rst_tx - c->tx.bytes + 7) & ~(size_t)7;
		for (size_t at = 0; at < len; at += 8)
			store64le(chunk + at, stream_word(opt->seed + c->n, i++));
		if (len && !write_all(c, chunk, len))
			break;
		left -= len < left ? len : left;
		if (opt->rst_tx >= 0 && c->tx.bytes >= (uint64_t)opt->rst_tx) {
			conn_abort(c);
			break;
		}
		if (opt->tx_rate)
			pace(began, c->tx.bytes, opt->tx_rate);
	}
	free(chunk);
}

static void *sender(void *arg)
{
	struct conn *c = arg;
	const struct options *opt = c->opt;

	if (opt->answer) {
		pthread_mutex_lock(&c->lock);
		while (!c->rx_over)
			pthread_cond_wait(&c->rx_ended, &c->lock);
		pthread_mutex_unlock(&c->lock);
	}
	if (opt->delay_ms)
		sleep_ms(opt->delay_ms);
	if (!opt->echo)
		send_stream(c);
	if (!conn_over(c) && !opt->no_fin && !opt->echo)
		shutdown(c->fd, SHUT_WR);
	return NULL;
}

static void receive_stream(struct conn *c)
{
	const struct options *opt = c->opt;
	uint8_t *chunk = malloc(CHUNK);
	double began;

	if (opt->rx_pause_ms)
		sleep_ms(opt->rx_pause_ms);
	began = now_ms();
	while (!conn_over(c)) {
		ssize_t n;

		if (opt->rst_rx >= 0 && c->rx.bytes >= (uint64_t)opt->rst_rx) {
			conn_abort(c);
			break;
		}
		n = read(c->fd, chunk, piece(opt->rx_rate, UINT64_MAX));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			conn_error(c, errno);
		if (n <= 0)
			break;
		tally_add(&c->rx, chunk, (size_t)n);
		if (opt->echo && !write_all(c, chunk, (size_t)n))
			break;
		if (opt->rx_rate)
			pace(began, c->rx.bytes, opt->rx_rate);
	}
	free(chunk);
}

static void report(struct conn *c)
{
	const char *end = c->end ? c->end : "eof";
	bool good = (!strcmp(end, "eof") || !strcmp(end, "aborted")) && c->rx.bad_at < 0;

	tally_end(&c->tx);
	tally_end(&c->rx);
	pthread_mutex_lock(&print_lock);
	good = good && c->rx.bad_at < 0;
	printf("{\"n\":%u,\"end\":\"%s\",\"error\":\"%s\",\"connect_ms\":%.2f,\"ms\":%.2f,"
	       "\"tx\":%" PRIu64 ",\"tx_hash\":\"%016" PRIx64 "\",\"rx\":%" PRIu64
	       ",\"rx_hash\":\"%016" PRIx64 "\",\"bad_at\":%" PRId64 "}\n",
		c->n, end, c->error ? strerror(c->error) : "", c->connect_ms, now_ms() - c->began,
		c->tx.bytes, c->tx.hash, c->rx.bytes, c->rx.hash, c->rx.bad_at);
	fflush(stdout);
	if (!good)
		failures++;
	pthread_mutex_unlock(&print_lock);
}

static int spawn(pthread_t *thread, void *(*main_of)(void *), void *arg)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	rc = pthread_create(thread, &attr, main_of, arg);
	pthread_attr_destroy(&attr);
	return rc;
}

static void conn_run(struct conn *c)
{
	struct timeval idle = {(time_t)c->opt->idle_s, 0};
	pthread_t thread;
	int one = 1;

	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof(idle));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (spawn(&thread, sender, c) != 0) {
		conn_fail(c, "error", EAGAIN);
		return;
	}
	receive_stream(c);
	pthread_mutex_lock(&c->lock);
	c->rx_over = true;
	pthread_cond_signal(&c->rx_ended);
	pthread_mutex_unlock(&c->lock);
	if (c->opt->echo && !conn_over(c))
		shutdown(c->fd, SHUT_WR);
	pthread_join(thread, NULL);
}

static void *conn_thread(void *arg)
{
	struct conn *c = arg;

	if (c->fd >= 0) {
		conn_run(c);
		close(c->fd);
	}
	report(c);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->rx_ended);
	free(c);
	return NULL;
}

static struct conn *conn_new(const struct options *opt, unsigned n)
{
	struct conn *c = calloc(1, sizeof(*c));

	c->opt = opt;
	c->n = n;
	c->fd = -1;
	c->began = now_ms();
	tally_init(&c->tx);
	c->tx.ours = true;
	tally_init(&c->rx);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->rx_ended, NULL);
	return c;
}

union any_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
#ifdef __linux__
	struct sockaddr_vm vm;
#endif
};

#ifdef __linux__
static socklen_t parse_vsock(union any_addr *to, unsigned long port, bool listen)
{
	to->vm.svm_family = AF_VSOCK;
	to->vm.svm_cid = listen ? VMADDR_CID_ANY : VMADDR_CID_HOST;
	to->vm.svm_port = port || !listen ? (unsigned)port : VMADDR_PORT_ANY;
	return sizeof(to->vm);
}
#endif

static socklen_t parse_addr(
	union any_addr *to, const char *addr, const char *port, const struct options *opt)
{
	unsigned long number = strtoul(port, NULL, 10);

	memset(to, 0, sizeof(*to));
#ifdef __linux__
	if (!strcmp(addr, "vsock"))
		return parse_vsock(to, number, opt->listen);
#else
	(void)opt;
#endif
	if (!strcmp(addr, "unix")) {
		to->un.sun_family = AF_UNIX;
		snprintf(to->un.sun_path, sizeof(to->un.sun_path), "%s", port);
		return sizeof(to->un);
	}
	if (inet_pton(AF_INET, addr, &to->in.sin_addr) == 1) {
		to->in.sin_family = AF_INET;
		to->in.sin_port = htons((uint16_t)number);
		return sizeof(to->in);
	}
	if (inet_pton(AF_INET6, addr, &to->in6.sin6_addr) == 1) {
		to->in6.sin6_family = AF_INET6;
		to->in6.sin6_port = htons((uint16_t)number);
		return sizeof(to->in6);
	}
	fprintf(stderr, "xfer: %s is no address\n", addr);
	exit(2);
}

static int new_socket(const struct options *opt, const union any_addr *to)
{
	int fd = socket(to->sa.sa_family, SOCK_STREAM, 0);

	if (fd < 0) {
		perror("xfer: socket");
		exit(2);
	}
	if (opt->rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &opt->rcvbuf, sizeof(opt->rcvbuf));
#ifdef __linux__
	if (to->sa.sa_family == AF_VSOCK) {
		struct timeval patient = {30, 0}; /* Linux gives up after 2 s */

		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patient, sizeof(patient));
	}
#endif
	return fd;
}

struct connecting {
	struct conn *c;
	union any_addr to;
	socklen_t len;
};

static void *connect_thread(void *arg)
{
	struct connecting *job = arg;
	struct conn *c = job->c;
	int fd = new_socket(c->opt, &job->to);

	c->began = now_ms();
	if (connect(fd, &job->to.sa, job->len) < 0) {
		conn_error(c, errno);
		close(fd);
	} else {
		c->fd = fd;
	}
	c->connect_ms = now_ms() - c->began;
	free(job);
	return conn_thread(c);
}

static void run_connect(const struct options *opt, const char *addr, const char *port)
{
	pthread_t *threads = calloc(opt->count, sizeof(*threads));

	for (unsigned i = 0; i < opt->count; i++) {
		struct connecting *job = calloc(1, sizeof(*job));

		job->c = conn_new(opt, i);
		job->len = parse_addr(&job->to, addr, port, opt);
		if (spawn(&threads[i], connect_thread, job) != 0) {
			fprintf(stderr, "xfer: cannot start a thread\n");
			exit(2);
		}
	}
	for (unsigned i = 0; i < opt->count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

static unsigned bound_port(const union any_addr *at)
{
	if (at->sa.sa_family == AF_UNIX)
		return 0;
#ifdef __linux__
	if (at->sa.sa_family == AF_VSOCK)
		return at->vm.svm_port;
#endif
	return ntohs(at->in.sin_port);
}

static int open_listener(const struct options *opt, const char *addr, const char *port)
{
	union any_addr at;
	socklen_t len = parse_addr(&at, addr, port, opt);
	int fd = new_socket(opt, &at), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (at.sa.sa_family == AF_UNIX)
		unlink(port);
	if (bind(fd, &at.sa, len) < 0 || listen(fd, 1024) < 0) {
		fprintf(stderr, "xfer: %s %s: %s\n", addr, port, strerror(errno));
		exit(2);
	}
	len = sizeof(at);
	getsockname(fd, &at.sa, &len);
	printf("port %u\n", bound_port(&at));
	fflush(stdout);
	return fd;
}

static void run_listen(const struct options *opt, const char *addr, const char *port)
{
	pthread_t *threads = calloc(opt->count ? opt->count : 1, sizeof(*threads));
	int listener = open_listener(opt, addr, port);

	for (unsigned i = 0; opt->count == 0 || i < opt->count; i++) {
		int fd = accept(listener, NULL, NULL);
		pthread_t *thread = &threads[opt->count ? i : 0];
		struct conn *c;

		if (fd < 0) {
			i--;
			sleep_ms(errno == EMFILE ? 10 : 0);
			continue;
		}
		c = conn_new(opt, i);
		c->fd = fd;
		if (spawn(thread, conn_thread, c) != 0)
			exit(2);
		if (opt->count == 0)
			pthread_detach(*thread);
	}
	close(listener);
	for (unsigned i = 0; i < opt->count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

static void usage(const char *what)
{
	fprintf(stderr, "xfer: %s\nusage: xfer listen|connect ADDR PORT [OPTION...]\n", what);
	exit(2);
}

static bool parse_flag(struct options *opt, const char *name)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"--echo", &opt->echo},
		{"--answer", &opt->answer},
		{"--no-fin", &opt->no_fin},
		{"--random", &opt->random},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (!strcmp(name, flags[i].name)) {
			*flags[i].flag = true;
			return true;
		}
	}
	return false;
}

static bool parse_number(struct options *opt, const char *name, const char *text)
{
	uint64_t value = strtoull(text, NULL, 10);
	const struct {
		const char *name;
		uint64_t *wide;
		int64_t *offset;
		unsigned *narrow;
	} numbers[] = {
		{"--send", &opt->send, NULL, NULL},
		{"--seed", &opt->seed, NULL, NULL},
		{"--rx-rate", &opt->rx_rate, NULL, NULL},
		{"--tx-rate", &opt->tx_rate, NULL, NULL},
		{"--rst-rx", NULL, &opt->rst_rx, NULL},
		{"--rst-tx", NULL, &opt->rst_tx, NULL},
		{"--count", NULL, NULL, &opt->count},
		{"--delay", NULL, NULL, &opt->delay_ms},
		{"--rx-pause", NULL, NULL, &opt->rx_pause_ms},
		{"--idle", NULL, NULL, &opt->idle_s},
		{"--timeout", NULL, NULL, &opt->timeout_s},
		{"--rcvbuf", NULL, NULL, (unsigned *)&opt->rcvbuf},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(name, numbers[i].name))
			continue;
		if (numbers[i].wide)
			*numbers[i].wide = value;
		else if (numbers[i].offset)
			*numbers[i].offset = (int64_t)value;
		else
			*numbers[i].narrow = (unsigned)value;
		return true;
	}
	return false;
}

static void out_of_time(int signal_number)
{
	static const char text[] = "xfer: out of time\n";

	(void)signal_number;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(4);
	_exit(3);
}

int main(int argc, char **argv)
{
	struct options opt = {
		.count = 1, .idle_s = 60, .timeout_s = 600, .rst_rx = -1, .rst_tx = -1};

	if (argc < 4 || (strcmp(argv[1], "listen") && strcmp(argv[1], "connect")))
		usage("what?");
	opt.listen = !strcmp(argv[1], "listen");
	for (int i = 4; i < argc; i++) {
		if (parse_flag(&opt, argv[i]))
			continue;
		if (i + 1 >= argc || !parse_number(&opt, argv[i], argv[i + 1]))
			usage(argv[i]);
		i++;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, out_of_time);
	alarm(opt.timeout_s);
	if (opt.listen)
		run_listen(&opt, argv[2], argv[3]);
	else
		run_connect(&opt, argv[2], argv[3]);
	return failures ? 1 : 0;
}
