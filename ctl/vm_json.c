/* SPDX-License-Identifier: MIT */
/* A VM's document, as GET gives it. See vm.h. */
#include "ctl/vm.h"

#include "common/clock.h"
#include "ctl/json_read.h"

#include <string.h>

const char *vm_state(const struct vm *vm)
{
	if (vm->failure[0] || vm->link_error[0] || vm->vsock.error[0])
		return "failed";
	return vm_in_use(vm) ? "running" : "waiting";
}

bool vm_in_use(const struct vm *vm)
{
	return vm->link_up || vm->vsock.up;
}

struct json_object *vm_lease_json(const struct vm *vm)
{
	struct json_object *doc;
	char text[ADDR_STRLEN], time[CLOCK_RFC3339_LEN];

	if (!vm->has_lease)
		return NULL;
	doc = json_object_new_object();
	json_put_string(doc, "addr", addr_format(&vm->lease.addr, text, sizeof(text)));
	json_put_string(doc, "mac", mac_format(&vm->lease.mac, text, sizeof(text)));
	json_put_string(doc, "hostname", vm->lease.hostname);
	json_put_string(doc, "since", clock_rfc3339(vm->lease.since_ms, time, sizeof(time)));
	return doc;
}

static struct json_object *link_json(const struct vm *vm)
{
	static const char *const nics[] = {NULL, "stream", "dgram", "tap"};
	struct json_object *doc = json_object_new_object();
	bool datagrams = vm->config.link == VM_LINK_DGRAM ||
		(vm->config.link == VM_LINK_ATTACH && vm->nic_kind == WORKER_LINK_DGRAM);

	json_put_string(doc, "kind", vm_link_name(vm->config.link));
	json_put_string(doc, "path", vm->config.path[0] ? vm->config.path : NULL);
	if (vm->config.link == VM_LINK_ATTACH)
		json_put_string(doc, "attached", nics[vm->nic_kind]);
	json_put_int(doc, "mtu", vm_config_mtu(&vm->config, datagrams));
	json_put_bool(doc, "connected", vm->link_up);
	return doc;
}

static struct json_object *net_json(const struct vm *vm)
{
	struct json_object *doc = json_object_new_object();
	char text[PREFIX_STRLEN];

	json_put_string(doc, "subnet", prefix_format(&vm->config.subnet, text, sizeof(text)));
	json_put_string(doc, "gateway", addr_format(&vm->config.gateway, text, sizeof(text)));
	json_put_string(doc, "guest", addr_format(&vm->config.guest, text, sizeof(text)));
	if (vm->config.mac_fixed)
		mac_format(&vm->config.mac, text, sizeof(text));
	else if (vm->mac_known)
		mac_format(&vm->mac, text, sizeof(text));
	json_put_string(doc, "mac", vm->config.mac_fixed || vm->mac_known ? text : NULL);
	return doc;
}

static struct json_object *worker_json(const struct vm *vm)
{
	struct json_object *doc;
	struct supervised_info info;
	char time[CLOCK_RFC3339_LEN];

	supervised_info(vm->slot, &info);
	if (!info.pid)
		return NULL;
	doc = json_object_new_object();
	json_put_int(doc, "pid", info.pid);
	json_put_string(doc, "since", clock_rfc3339(info.since_ms, time, sizeof(time)));
	json_put_int(doc, "restarts", info.restarts);
	json_put_bool(doc, "outdated", info.outdated);
	return doc;
}

struct json_object *vm_json(struct vm *vm)
{
	struct json_object *doc = json_object_new_object();
	struct json_object *config = vm_config_json(&vm->config), *dns = NULL;
	char time[CLOCK_RFC3339_LEN];

	json_put_string(doc, "name", vm->config.name);
	json_put_string(doc, "state", vm_state(vm));
	if (vm->failure[0] || vm->link_error[0] || vm->vsock.error[0])
		json_put_string(doc, "error",
			vm->link_error[0]            ? vm->link_error
				: vm->vsock.error[0] ? vm->vsock.error
						     : vm->failure);
	json_put_string(doc, "created", clock_rfc3339(vm->created_ms, time, sizeof(time)));
	json_object_object_add(doc, "link", link_json(vm));
	json_object_object_add(doc, "vsock", vm_vsock_json(vm));
	json_object_object_add(doc, "net", net_json(vm));
	json_object_object_get_ex(config, "dns", &dns);
	json_object_object_add(doc, "dns", json_object_get(dns));
	json_object_put(config);
	json_put_bool(doc, "host_access", vm->config.host_access);
	json_object_object_add(doc, "proxy", vm_proxy_json(vm));
	json_object_object_add(doc, "limits", limits_config_json(&vm->config.limits));
	json_object_object_add(doc, "policy", json_object_get(policy_doc(vm->policy)));
	json_put_bool(doc, "ephemeral", vm->ephemeral);
	json_put_int(doc, "ttl", vm->config.ttl_s);
	json_put_int(doc, "forwards", (int64_t)vm->n_forwards);
	json_put_int(doc, "maps", (int64_t)vm->n_maps);
	json_object_object_add(doc, "lease", vm_lease_json(vm));
	json_put_string(doc, "sandbox", vm->sandbox[0] ? vm->sandbox : NULL);
	json_object_object_add(doc, "worker", worker_json(vm));
	return doc;
}
