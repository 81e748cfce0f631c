/* SPDX-License-Identifier: MIT */
/* Filters and order of flows. See flow_filter.h. */
#include "cli/flow_filter.h"

#include "cli/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VSOCK "vsock:"

/* ---- reading filters ---- */

static int read_port(const char **text, uint32_t *port)
{
	uint64_t n = 0;
	const char *p = *text;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > UINT32_MAX)
			return -EINVAL;
	}
	*text = p;
	*port = (uint32_t)n;
	return 0;
}

static int read_ports(const char *text, const char *end, struct flow_term *term)
{
	if (read_port(&text, &term->first) < 0)
		return -EINVAL;
	term->last = term->first;
	if (*text == '-') {
		text++;
		if (read_port(&text, &term->last) < 0)
			return -EINVAL;
	}
	return text == end && term->first <= term->last ? 0 : -EINVAL;
}

static int read_prefix(const char *text, size_t len, struct prefix *out)
{
	char copy[PREFIX_STRLEN];

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return prefix_parse(copy, true, out);
}

static bool is_one_of(const char *word, size_t len, const char *const *list)
{
	for (; *list; list++)
		if (strlen(*list) == len && !memcmp(*list, word, len))
			return true;
	return false;
}

const char flow_states[] =
	"established, syn-sent, syn-rcvd, dialling, guest-closed, host-closed, closing, open, "
	"dns, forward, echo";

static int read_term(const char *text, size_t len, struct flow_term *term)
{
	static const char *const protos[] = {"tcp", "udp", "icmp", "vsock", NULL};
	static const char *const dirs[] = {"in", "out", NULL};
	static const char *const states[] = {"established", "syn-sent", "syn-rcvd", "dialling",
		"guest-closed", "host-closed", "closing", "open", "dns", "forward", "echo", NULL};

	term->word = text;
	term->len = len;
	switch (term->field) {
	case FLOW_PROTO:
		return is_one_of(text, len, protos) ? 0 : -EINVAL;
	case FLOW_DIR:
		return is_one_of(text, len, dirs) ? 0 : -EINVAL;
	case FLOW_STATE:
		return is_one_of(text, len, states) ? 0 : -EINVAL;
	case FLOW_SRC:
	case FLOW_DST:
		return read_prefix(text, len, &term->prefix);
	case FLOW_SPORT:
	case FLOW_DPORT:
	case FLOW_PORT:
	case FLOW_FIELDS:
		break;
	}
	return read_ports(text, text + len, term);
}

int flow_filter_add(struct flow_filter *filter, enum flow_field field, const char *list)
{
	for (;;) {
		size_t len = strcspn(list, ",");
		struct flow_term *term = &filter->terms[filter->n];
		int err;

		if (filter->n == FLOW_TERMS_MAX)
			return -E2BIG;
		*term = (struct flow_term){.field = field};
		err = read_term(list, len, term);
		if (err < 0)
			return err;
		filter->n++;
		if (!list[len])
			return 0;
		list += len + 1;
	}
}

/* ---- matching ---- */

static const char *const text_keys[] = {
	[FLOW_PROTO] = "proto", [FLOW_DIR] = "dir", [FLOW_STATE] = "state"};

static bool word_is(const char *text, const struct flow_term *term)
{
	return strlen(text) == term->len && !memcmp(text, term->word, term->len);
}

static bool addr_in(struct json_object *flow, const char *key, const struct prefix *prefix)
{
	struct endpoint e;

	return endpoint_parse(doc_text(flow, key), &e) == 0 && prefix_contains(prefix, &e.addr);
}

/* An end's port, -1 for none: of "1.2.3.4:80" and of "vsock:5000" alike. */
static int64_t port_of(const char *end)
{
	struct endpoint e;

	if (!strncmp(end, VSOCK, sizeof(VSOCK) - 1))
		return strtoll(end + sizeof(VSOCK) - 1, NULL, 10);
	return endpoint_parse(end, &e) == 0 ? e.port : -1;
}

static bool port_in(struct json_object *flow, const char *key, const struct flow_term *term)
{
	int64_t port = port_of(doc_text(flow, key));

	return port >= term->first && port <= term->last;
}

static bool term_matches(const struct flow_term *term, struct json_object *flow)
{
	switch (term->field) {
	case FLOW_PROTO:
	case FLOW_DIR:
	case FLOW_STATE:
		return word_is(doc_text(flow, text_keys[term->field]), term);
	case FLOW_SRC:
		return addr_in(flow, "guest", &term->prefix);
	case FLOW_DST:
		return addr_in(flow, "remote", &term->prefix) ||
			addr_in(flow, "host", &term->prefix);
	case FLOW_SPORT:
		return port_in(flow, "guest", term);
	case FLOW_DPORT:
		return port_in(flow, "remote", term);
	case FLOW_PORT:
		return port_in(flow, "guest", term) || port_in(flow, "remote", term);
	case FLOW_FIELDS:
		break;
	}
	return false;
}

bool flow_filter_match(const struct flow_filter *filter, struct json_object *flow)
{
	bool asked[FLOW_FIELDS] = {false}, held[FLOW_FIELDS] = {false};

	for (size_t i = 0; i < filter->n; i++) {
		const struct flow_term *term = &filter->terms[i];

		asked[term->field] = true;
		held[term->field] = held[term->field] || term_matches(term, flow);
	}
	for (size_t i = 0; i < FLOW_FIELDS; i++)
		if (asked[i] && !held[i])
			return false;
	return true;
}

/* ---- order ---- */

const char flow_sort_keys[] =
	"age, idle, sent, received, bytes, proto, dir, state, guest, remote or host";

enum sort_by { BY_NUMBER, BY_TEXT, BY_ENDPOINT };

static const struct sort_key {
	const char *name;
	const char *key, *plus; /* members; plus is added, or NULL */
	enum sort_by by;
} sort_keys[] = {
	{"age", "age_ms", NULL, BY_NUMBER},
	{"idle", "idle_ms", NULL, BY_NUMBER},
	{"sent", "tx_bytes", NULL, BY_NUMBER},
	{"received", "rx_bytes", NULL, BY_NUMBER},
	{"bytes", "tx_bytes", "rx_bytes", BY_NUMBER},
	{"proto", "proto", NULL, BY_TEXT},
	{"dir", "dir", NULL, BY_TEXT},
	{"state", "state", NULL, BY_TEXT},
	{"guest", "guest", NULL, BY_ENDPOINT},
	{"remote", "remote", NULL, BY_ENDPOINT},
	{"host", "host", NULL, BY_ENDPOINT},
};

#define N_KEYS (sizeof(sort_keys) / sizeof(*sort_keys))

/* A flow with what it is compared by, so that nothing is parsed again and again. */
struct row {
	struct json_object *flow;
	int64_t number;
	const char *text;
	struct endpoint endpoint, guest, remote;
	const char *proto;
	int64_t guest_port; /* of a vsock connection, which has no address */
	bool reverse;
};

static struct endpoint endpoint_of(struct json_object *flow, const char *key)
{
	struct endpoint e = {.port = 0};

	endpoint_parse(doc_text(flow, key), &e);
	return e;
}

static struct row row_of(struct json_object *flow, const struct sort_key *key, bool reverse)
{
	struct row row = {
		.flow = flow,
		.text = "",
		.guest = endpoint_of(flow, "guest"),
		.remote = endpoint_of(flow, "remote"),
		.proto = doc_text(flow, "proto"),
		.guest_port = port_of(doc_text(flow, "guest")),
		.reverse = reverse,
	};

	if (!key)
		return row;
	if (key->by == BY_NUMBER)
		/* The largest first, unless it is turned round. */
		row.number = -(
			doc_int(flow, key->key) + (key->plus ? doc_int(flow, key->plus) : 0));
	else if (key->by == BY_TEXT)
		row.text = doc_text(flow, key->key);
	else
		row.endpoint = endpoint_of(flow, key->key);
	return row;
}

static int compare_endpoints(const struct endpoint *a, const struct endpoint *b)
{
	int order = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));

	return order ? order : (int)a->port - (int)b->port;
}

static int compare(const void *one, const void *other)
{
	const struct row *a = one, *b = other;
	int order = (a->number > b->number) - (a->number < b->number);

	if (!order)
		order = strcmp(a->text, b->text);
	if (!order)
		order = compare_endpoints(&a->endpoint, &b->endpoint);
	if (order)
		return a->reverse ? -order : order;
	order = strcmp(a->proto, b->proto);
	if (!order)
		order = compare_endpoints(&a->guest, &b->guest);
	if (!order)
		order = (a->guest_port > b->guest_port) - (a->guest_port < b->guest_port);
	return order ? order : compare_endpoints(&a->remote, &b->remote);
}

int flow_sort(struct json_object **flows, size_t n, const char *key, bool reverse)
{
	const struct sort_key *found = NULL;
	struct row *rows;

	for (size_t i = 0; key && i < N_KEYS; i++)
		if (!strcmp(sort_keys[i].name, key))
			found = &sort_keys[i];
	if (key && !found)
		return -EINVAL;
	rows = calloc(n + 1, sizeof(*rows));
	if (!rows)
		abort();
	for (size_t i = 0; i < n; i++)
		rows[i] = row_of(flows[i], found, reverse);
	qsort(rows, n, sizeof(*rows), compare);
	for (size_t i = 0; i < n; i++)
		flows[i] = rows[i].flow;
	free(rows);
	return 0;
}
