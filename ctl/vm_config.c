/* SPDX-License-Identifier: MIT */
/* A VM's settings. See vm_config.h. */
#include "ctl/vm_config.h"

#include "common/unix_socket.h"
#include "ctl/json_read.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MTU_MIN 576
#define MTU_MAX 65520
#define TTL_MAX (366 * 86400)
#define DEFAULT_SUBNET "10.0.2.0/24"
#define V4_BITS(bits) ((bits)-96)

const char *const vm_config_fields[] = {
	"name", "link", "net", "dns", "proxy", "host_access", "ttl", "vsock", "limits", NULL};

static const char *const link_names[] = {"none", "stream", "dgram", "attach"};

const char *vm_link_name(enum vm_link link)
{
	return link_names[link];
}

static bool lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool vm_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > VM_NAME_MAX || !lower_or_digit(name[0]))
		return false;
	for (size_t i = 1; i < n; i++) {
		if (!lower_or_digit(name[i]) && !strchr("._-", name[i]))
			return false;
	}
	return true;
}

bool domain_name_valid(const char *name)
{
	size_t label = 0, n = strlen(name);

	if (n < 1 || n >= VM_DOMAIN_LEN)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (name[i] == '.') {
			if (!label)
				return false;
			label = 0;
		} else if (isalnum((unsigned char)name[i]) || name[i] == '-' || name[i] == '_') {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return label > 0;
}

static int read_name(struct json_object *doc, struct vm_config *config, struct error *err)
{
	const char *name = NULL;
	int got = json_get_string(doc, "", "name", &name, err);

	if (got < 0)
		return -1;
	if (!got)
		return json_missing("", "name", err);
	if (!vm_name_valid(name))
		return error_set(err, 400, "name",
			"VM name \"%.64s\": must be 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit",
			name);
	strcpy(config->name, name);
	return 0;
}

/* No "." or ".." component and no empty one: the text decides where the file lies. */
static bool plain_path(const char *path)
{
	for (const char *p = path; *p; p += *p ? 1 : 0) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
		if (!*p)
			return true;
		if (!p[1])
			return false;
	}
	return false;
}

bool vm_path_below(const char *path, const char *runtime_dir, const char *vm)
{
	char below[2 * VM_PATH_LEN];

	snprintf(below, sizeof(below), "%s/vms/%s/", runtime_dir, vm);
	return strncmp(path, below, strlen(below)) == 0 && plain_path(path + strlen(below));
}

static int read_path(struct json_object *link, const char *runtime_dir, struct vm_config *config,
	struct error *err)
{
	char below[VM_PATH_LEN + 16], standard[2 * VM_PATH_LEN];
	const char *path = NULL;
	int got = json_get_string(link, "link", "path", &path, err);

	if (got < 0)
		return -1;
	if (config->link != VM_LINK_STREAM && config->link != VM_LINK_DGRAM) {
		if (got || config->handed)
			return error_set(err, 400, got ? "link.path" : "link.handed",
				"VM %s: a link of kind %s has no path", config->name,
				link_names[config->link]);
		return 0;
	}
	if (!got && config->handed)
		return json_missing("link", "path", err);
	snprintf(below, sizeof(below), "%s/vms/%s/", runtime_dir, config->name);
	snprintf(standard, sizeof(standard), "%slink.sock", below);
	if (!got)
		path = standard;
	if (strlen(path) > unix_path_max())
		return error_set(err, 400, "link.path",
			"VM %s: link path of %zu bytes is too long for a unix socket (at most %zu)",
			config->name, strlen(path), unix_path_max());
	if (path[0] != '/')
		return error_set(err, 400, "link.path", "VM %s: link path %s is not absolute",
			config->name, path);
	if (!config->handed && !vm_path_below(path, runtime_dir, config->name))
		return error_set(err, 400, "link.path", "VM %s: link path %s is not below %s",
			config->name, path, below);
	strcpy(config->path, path);
	return 0;
}

static int read_link(struct json_object *doc, const char *runtime_dir, struct vm_config *config,
	struct error *err)
{
	static const char *const fields[] = {"kind", "path", "handed", "mtu", NULL};
	struct json_object *link = NULL;
	const char *kind = NULL;
	int64_t mtu = 0;
	int got = json_get_object(doc, "", "link", &link, err);

	if (got <= 0) {
		struct json_object *nothing = json_object_new_object();
		int status = got < 0 ? -1 : read_path(nothing, runtime_dir, config, err);

		json_object_put(nothing);
		return status;
	}
	if (json_only(link, "link", fields, err) < 0)
		return -1;
	got = json_get_string(link, "link", "kind", &kind, err);
	if (got < 0)
		return -1;
	if (got) {
		size_t i = 0;

		while (i < 4 && strcmp(kind, link_names[i]) != 0)
			i++;
		if (i == 4)
			return error_set(err, 400, "link.kind",
				"link kind \"%.32s\" is unknown: stream, dgram, attach or none",
				kind);
		config->link = (enum vm_link)i;
	}
	if (json_get_bool(link, "link", "handed", &config->handed, err) < 0 ||
		json_get_int(link, "link", "mtu", MTU_MIN, MTU_MAX, &mtu, err) < 0)
		return -1;
	config->mtu = (uint32_t)mtu;
	return read_path(link, runtime_dir, config, err);
}

/* Gateway and guest of a subnet, or why it will not do. */
static int lay_out(struct vm_config *config, const char *text, struct error *err)
{
	unsigned bits = config->subnet.bits;
	uint32_t base;

	if (!addr_is_v4(&config->subnet.addr) || bits < 96)
		return error_set(err, 400, "net.subnet", "subnet %.60s is not IPv4", text);
	if (V4_BITS(bits) > 29)
		return error_set(err, 400, "net.subnet",
			"subnet %.60s is too small: at least a /29 is needed", text);
	base = addr_v4(&config->subnet.addr);
	if (V4_BITS(bits) < 8 || base >> 24 == 0 || base >> 24 == 127 || base >> 28 >= 14)
		return error_set(
			err, 400, "net.subnet", "subnet %.60s is no network for guests", text);
	config->gateway = addr_from_v4(base + 2);
	config->guest = addr_from_v4(base + (V4_BITS(bits) <= 27 ? 15 : 3));
	return 0;
}

static int read_net(struct json_object *doc, struct vm_config *config, struct error *err)
{
	static const char *const fields[] = {"subnet", "mac", NULL};
	const char *subnet = DEFAULT_SUBNET, *mac = NULL;
	struct json_object *net = NULL;
	int got = json_get_object(doc, "", "net", &net, err);

	if (got < 0 || (got && json_only(net, "net", fields, err) < 0))
		return -1;
	if (got &&
		(json_get_string(net, "net", "subnet", &subnet, err) < 0 ||
			json_get_string(net, "net", "mac", &mac, err) < 0))
		return -1;
	if (prefix_parse(subnet, false, &config->subnet) < 0)
		return error_set(err, 400, "net.subnet",
			"subnet \"%.60s\" is not ADDRESS/BITS with zero host bits", subnet);
	if (mac) {
		if (mac_parse(mac, &config->mac) < 0)
			return error_set(err, 400, "net.mac",
				"MAC address \"%.32s\" is not aa:bb:cc:dd:ee:ff", mac);
		if (config->mac.b[0] & 1)
			return error_set(
				err, 400, "net.mac", "MAC address %.32s is a group address", mac);
		config->mac_fixed = true;
	}
	return lay_out(config, subnet, err);
}

static int read_upstream(
	const char *text, const char *field, struct endpoint *out, struct error *err)
{
	out->port = 53;
	if (addr_parse(text, &out->addr) < 0 && endpoint_parse(text, out) < 0)
		return error_set(err, 400, field, "\"%.64s\" is not ADDRESS or ADDRESS:PORT", text);
	if (out->port == 0 || addr_is_unspecified(&out->addr) || addr_is_multicast(&out->addr))
		return error_set(err, 400, field, "%.64s is no address of a DNS server", text);
	return 0;
}

/* The strings of dns.upstreams or dns.search, one at a time. */
static int read_dns_list(struct json_object *dns, const char *key, size_t max,
	struct vm_config *config, struct error *err)
{
	struct json_object *list = NULL;
	char path[32], field[FIELD_LEN];
	int got = json_get_array(dns, "dns", key, max, &list, err);

	if (got <= 0)
		return got;
	snprintf(path, sizeof(path), "dns.%s", key);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		const char *text = json_object_get_string(item);

		json_path_at(field, sizeof(field), path, i);
		if (!json_object_is_type(item, json_type_string))
			return error_set(err, 400, field, "a string is wanted");
		if (strcmp(key, "search") == 0) {
			if (!domain_name_valid(text))
				return error_set(
					err, 400, field, "\"%.64s\" is no domain name", text);
			strcpy(config->search[config->n_search++], text);
		} else if (read_upstream(text, field, &config->upstreams[config->n_upstreams++],
				   err) < 0) {
			return -1;
		}
	}
	return 0;
}

static int read_unlisted(struct json_object *dns, struct vm_config *config, struct error *err)
{
	const char *text = "nxdomain";

	if (json_get_string(dns, "dns", "unlisted", &text, err) < 0)
		return -1;
	config->answer_unlisted = strcmp(text, "answer") == 0;
	if (!config->answer_unlisted && strcmp(text, "nxdomain") != 0)
		return error_set(
			err, 400, "dns.unlisted", "\"%.32s\" is not nxdomain or answer", text);
	return 0;
}

static int read_dns(struct json_object *doc, struct vm_config *config, struct error *err)
{
	static const char *const fields[] = {"upstreams", "search", "unlisted", NULL};
	struct json_object *dns = NULL;
	int got = json_get_object(doc, "", "dns", &dns, err);

	if (got <= 0)
		return got;
	if (json_only(dns, "dns", fields, err) < 0)
		return -1;
	if (read_dns_list(dns, "upstreams", VM_UPSTREAMS_MAX, config, err) < 0)
		return -1;
	if (read_dns_list(dns, "search", VM_SEARCH_MAX, config, err) < 0)
		return -1;
	return read_unlisted(dns, config, err);
}

int vm_config_read(struct json_object *doc, const char *runtime_dir, enum vm_link link_default,
	struct vm_config *config, struct error *err)
{
	int64_t ttl = 0;

	memset(config, 0, sizeof(*config));
	config->link = link_default;
	if (!json_object_is_type(doc, json_type_object))
		return error_set(err, 400, NULL, "an object is wanted");
	if (read_name(doc, config, err) < 0 || read_link(doc, runtime_dir, config, err) < 0 ||
		read_net(doc, config, err) < 0 || read_dns(doc, config, err) < 0 ||
		proxy_config_read(doc, &config->proxy, err) < 0)
		return -1;
	if (vsock_config_read(doc, config->name, runtime_dir, &config->vsock, err) < 0 ||
		limits_config_read(doc, &config->limits, err) < 0 ||
		json_get_bool(doc, "", "host_access", &config->host_access, err) < 0 ||
		json_get_int(doc, "", "ttl", 0, TTL_MAX, &ttl, err) < 0)
		return -1;
	config->ttl_s = (uint32_t)ttl;
	return 0;
}

static struct json_object *dns_json(const struct vm_config *config)
{
	struct json_object *dns = json_object_new_object(), *list;
	char text[ENDPOINT_STRLEN];

	list = json_object_new_array();
	for (size_t i = 0; i < config->n_upstreams; i++) {
		const struct endpoint *e = &config->upstreams[i];

		if (e->port == 53)
			addr_format(&e->addr, text, sizeof(text));
		else
			endpoint_format(e, text, sizeof(text));
		json_object_array_add(list, json_object_new_string(text));
	}
	json_object_object_add(dns, "upstreams", list);
	list = json_object_new_array();
	for (size_t i = 0; i < config->n_search; i++)
		json_object_array_add(list, json_object_new_string(config->search[i]));
	json_object_object_add(dns, "search", list);
	json_put_string(dns, "unlisted", config->answer_unlisted ? "answer" : "nxdomain");
	return dns;
}

struct json_object *vm_config_json(const struct vm_config *config)
{
	struct json_object *doc = json_object_new_object(), *link = json_object_new_object();
	struct json_object *net = json_object_new_object();
	char text[PREFIX_STRLEN];

	json_put_string(doc, "name", config->name);
	json_put_string(link, "kind", link_names[config->link]);
	if (config->path[0])
		json_put_string(link, "path", config->path);
	if (config->handed)
		json_put_bool(link, "handed", true);
	if (config->mtu)
		json_put_int(link, "mtu", config->mtu);
	json_object_object_add(doc, "link", link);
	json_put_string(net, "subnet", prefix_format(&config->subnet, text, sizeof(text)));
	if (config->mac_fixed)
		json_put_string(net, "mac", mac_format(&config->mac, text, sizeof(text)));
	json_object_object_add(doc, "net", net);
	json_object_object_add(doc, "dns", dns_json(config));
	if (!proxy_config_is_default(&config->proxy))
		json_object_object_add(doc, "proxy", proxy_config_json(&config->proxy));
	json_put_bool(doc, "host_access", config->host_access);
	json_put_int(doc, "ttl", config->ttl_s);
	if (config->vsock.kind != VM_VSOCK_NONE)
		json_object_object_add(doc, "vsock", vsock_config_json(&config->vsock));
	json_object_object_add(doc, "limits", limits_config_json(&config->limits));
	return doc;
}

uint32_t vm_config_mtu(const struct vm_config *config, bool datagrams)
{
	if (config->mtu)
		return config->mtu;
	return datagrams ? 1500 : MTU_MAX;
}
