/* SPDX-License-Identifier: MIT */
/* The HTTP API over a unix socket. See http.h. */
#include "cli/http.h"

#include "cli/json.h"
#include "cli/socket.h"
#include "common/wiping.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_MAX ((size_t)64 << 20)
#define LINE_MAX_BYTES ((size_t)1 << 20)
#define HOST "http://netctl"

struct http {
	CURL *curl;
	char *text; /* the answer so far, or the line so far */
	size_t len;
	char etag[HTTP_ETAG_LEN];           /* of the answer, or "" */
	int (*each)(void *arg, char *line); /* of a stream */
	void *arg;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* Every byte but unreserved ones is escaped, and dots where they would be a path of their own. */
static char *append_segment(char *p, const char *text)
{
	bool dots = !strcmp(text, ".") || !strcmp(text, "..");

	*p++ = '/';
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '-' || c == '_' || (c == '.' && !dots);

		if (plain)
			*p++ = *text;
		else
			p += sprintf(p, "%%%02X", c);
	}
	*p = '\0';
	return p;
}

char *http_path(const char *segment, ...)
{
	size_t len = sizeof(HOST "/v1");
	char *path, *p;
	va_list ap;

	va_start(ap, segment);
	for (const char *s = segment; s; s = va_arg(ap, const char *))
		len += 1 + 3 * strlen(s);
	va_end(ap);
	path = malloc(len);
	if (!path)
		abort();
	p = path + sprintf(path, HOST "/v1");
	va_start(ap, segment);
	for (const char *s = segment; s; s = va_arg(ap, const char *))
		p = append_segment(p, s);
	va_end(ap);
	return path;
}

static int give_lines(struct http *http)
{
	char *start = http->text, *end;

	while ((end = memchr(start, '\n', http->len - (size_t)(start - http->text)))) {
		*end = '\0';
		if (*start && http->each(http->arg, start))
			return -1;
		start = end + 1;
	}
	http->len -= (size_t)(start - http->text);
	memmove(http->text, start, http->len);
	return http->len > LINE_MAX_BYTES ? -1 : 0;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct http *http = arg;
	size_t len = size * n;
	long status = 0;
	char *text;

	if (len > ANSWER_MAX || http->len > ANSWER_MAX - len)
		return 0;
	text = realloc(http->text, http->len + len + 1);
	if (!text)
		abort();
	http->text = text;
	memcpy(text + http->len, data, len);
	http->len += len;
	text[http->len] = '\0';
	curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
	if (http->each && status == 200 && give_lines(http) < 0)
		return 0;
	return len;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	static const char name[] = "ETag:";
	struct http *http = arg;
	size_t len = size * n, at = sizeof(name) - 1;

	if (len <= at || strncasecmp(line, name, at) != 0)
		return len;
	while (at < len && line[at] == ' ')
		at++;
	n = 0;
	while (at + n < len && line[at + n] != '\r' && line[at + n] != '\n')
		n++;
	if (n < sizeof(http->etag)) {
		memcpy(http->etag, line + at, n);
		http->etag[n] = '\0';
	}
	return len;
}

static int on_progress(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
	(void)arg;
	(void)dt;
	(void)dn;
	(void)ut;
	(void)un;
	return interrupted;
}

static struct http *http_new(const char *socket)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http)
		abort();
	http->curl = curl_easy_init();
	if (!http->curl)
		abort();
	curl_easy_setopt(http->curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	return http;
}

static void http_free(struct http *http)
{
	curl_easy_cleanup(http->curl);
	free(http->text);
	free(http);
}

/* Sets all but what is particular to a request; a handle is used for several, one by one. */
static void prepare(struct http *http, const char *method, const char *url, long timeout_ms)
{
	CURL *curl = http->curl;

	http->len = 0;
	http->etag[0] = '\0';
	http->each = NULL;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, http);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, http);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
}

static struct http *connected(struct cli *cli, int *status)
{
	*status = socket_find(cli, false);
	if (*status)
		return NULL;
	if (!cli->http)
		cli->http = http_new(cli->api_path);
	return cli->http;
}

static int transport_failed(const struct cli *cli, CURLcode code)
{
	if (code == CURLE_COULDNT_CONNECT)
		return cli_error(
			cli, STATUS_UNREACHABLE, "no netctld answers at %s", cli->api_path);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return cli_error(cli, STATUS_UNREACHABLE, "netctld at %s did not answer in time",
			cli->api_path);
	return cli_error(cli, STATUS_UNREACHABLE, "netctld at %s broke off: %s", cli->api_path,
		curl_easy_strerror(code));
}

static struct json_object *parse_answer(const struct http *http)
{
	if (!http->len)
		return NULL;
	return json_tokener_parse(http->text);
}

/* A request's body. */
struct content {
	const char *type; /* its header */
	const void *bytes;
	size_t len;
	const char *condition; /* one header more, or NULL */
};

/* One request; content NULL for none. 0, or an exit status with the message printed. */
static int request(struct cli *cli, const char *method, const char *path,
	const struct content *content, struct answer *answer)
{
	struct curl_slist *headers = NULL;
	struct http *http;
	CURLcode code;
	int status;

	*answer = (struct answer){0};
	http = connected(cli, &status);
	if (!http)
		return status;
	prepare(http, method, path, 30000);
	if (content)
		headers = curl_slist_append(headers, content->type);
	if (content && content->condition)
		headers = curl_slist_append(headers, content->condition);
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
	if (content) {
		curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE, (long)content->len);
		curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, content->bytes);
	} else {
		curl_easy_setopt(http->curl, CURLOPT_HTTPGET, 1L);
	}
	code = curl_easy_perform(http->curl);
	curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	if (code != CURLE_OK)
		return transport_failed(cli, code);
	curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer->status);
	answer->body = parse_answer(http);
	memcpy(answer->etag, http->etag, sizeof(answer->etag));
	return 0;
}

int http_send(struct cli *cli, const char *method, char *path, struct json_object *body,
	struct answer *answer)
{
	return http_send_if(cli, method, path, body, "", answer);
}

int http_send_if(struct cli *cli, const char *method, char *path, struct json_object *body,
	const char *etag, struct answer *answer)
{
	struct content content = {.type = "Content-Type: application/json"};
	char condition[HTTP_ETAG_LEN + 16];
	int status;

	if (*etag) {
		snprintf(condition, sizeof(condition), "If-Match: %s", etag);
		content.condition = condition;
	}
	if (body) {
		content.bytes = json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);
		content.len = strlen(content.bytes);
	}
	status = request(cli, method, path, body ? &content : NULL, answer);
	json_object_put(body);
	free(path);
	return status;
}

int http_result(const struct cli *cli, const struct answer *answer)
{
	const char *text = doc_text(answer->body, "detail");
	const char *field = doc_text(answer->body, "field");
	int status = STATUS_FAILURE;

	if (answer->status >= 200 && answer->status < 300)
		return STATUS_OK;
	if (answer->status == 404)
		status = STATUS_NOT_FOUND;
	else if (answer->status == 403 || answer->status == 409 || answer->status == 412)
		status = STATUS_REFUSED;
	if (!*text)
		text = doc_text(answer->body, "title");
	if (!*text)
		return cli_error(cli, status, "netctld answered %ld", answer->status);
	return cli_problem(cli, status, text, field);
}

void http_answer_free(struct answer *answer)
{
	json_object_put(answer->body);
	answer->body = NULL;
}

/* Takes the answer apart: its document to *out, where that is wanted. */
static int take_answer(const struct cli *cli, struct answer *answer, struct json_object **out)
{
	int status = http_result(cli, answer);

	if (!status && out && !answer->body)
		status = cli_error(cli, STATUS_FAILURE, "netctld answered without a document");
	if (!status && out) {
		*out = answer->body;
		answer->body = NULL;
	}
	http_answer_free(answer);
	return status;
}

int http_call(struct cli *cli, const char *method, char *path, struct json_object *body,
	struct json_object **out)
{
	struct answer answer;
	int status = http_send(cli, method, path, body, &answer);

	return status ? status : take_answer(cli, &answer, out);
}

int http_call_bytes(struct cli *cli, const char *method, char *path, const void *bytes, size_t len,
	struct json_object **out)
{
	struct content content = {
		.type = "Content-Type: application/octet-stream", .bytes = bytes, .len = len};
	struct answer answer;
	int status = request(cli, method, path, &content, &answer);

	free(path);
	return status ? status : take_answer(cli, &answer, out);
}

void http_wipe_buffers(void)
{
	curl_global_init_mem(CURL_GLOBAL_ALL, wiping_malloc, wiping_free, wiping_realloc,
		wiping_strdup, wiping_calloc);
}

static void catch_signals(void)
{
	struct sigaction act = {.sa_handler = on_signal};

	sigemptyset(&act.sa_mask);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
}

bool http_interrupted(void)
{
	return interrupted;
}

int http_stream(struct cli *cli, char *path, int (*each)(void *arg, char *line), void *arg)
{
	struct answer answer = {0};
	struct http *http;
	CURLcode code;
	int status;

	http = connected(cli, &status);
	if (!http) {
		free(path);
		return status;
	}
	prepare(http, "GET", path, 0);
	http->each = each;
	http->arg = arg;
	curl_easy_setopt(http->curl, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(http->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(http->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	catch_signals();
	code = curl_easy_perform(http->curl);
	free(path);
	if (interrupted || (code == CURLE_WRITE_ERROR && http->len <= LINE_MAX_BYTES))
		return STATUS_OK;
	if (code != CURLE_OK)
		return transport_failed(cli, code);
	curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer.status);
	if (answer.status != 200)
		answer.body = parse_answer(http);
	status = http_result(cli, &answer);
	http_answer_free(&answer);
	return status;
}

bool http_healthy(const char *socket)
{
	struct http *http = http_new(socket);
	long status = 0;
	char *path = http_path("health", NULL);

	prepare(http, "GET", path, 1000);
	if (curl_easy_perform(http->curl) == CURLE_OK)
		curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
	http_free(http);
	free(path);
	return status == 200;
}

void http_close(struct cli *cli)
{
	if (cli->http)
		http_free(cli->http);
	cli->http = NULL;
}
