/* SPDX-License-Identifier: MIT */
/*
 * What the tests of ctl/env.h share: a store and its key in a directory of their own, and one VM `web`
 * with nothing but its environment and secrets.
 */
#ifndef TESTS_UNIT_ENV_RIG_H
#define TESTS_UNIT_ENV_RIG_H

#include "common/os.h"
#include "ctl/env.h"
#include "ctl/secret_key.h"
#include "ctl/vm.h"

#include "tests/unit/check_main.h"

#include <dirent.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[96], key_path[96];
static struct vms vms;
static struct vm vm;
static struct error err;

/* As netctld starts: the store, the key if it can be had, the VM's row. */
static inline void open_all(void)
{
	memset(&vms, 0, sizeof(vms));
	memset(&vm, 0, sizeof(vm));
	vms.base = event_base_new();
	ck_assert_msg(store_open(path, &vms.store, &err) == 0, "%s", err.text);
	vms.events = events_new(vms.base, vms.store, &err);
	ck_assert_ptr_nonnull(vms.events);
	if (secret_key_open(vms.store, dir, &vms.key, &err) < 0)
		strcpy(vms.key_error, err.text);
	vm.vms = &vms;
	strcpy(vm.config.name, "web");
	env_init(&vm.env);
	ck_assert_msg(vm_env_restore(&vm, &err) == 0, "%s", err.text);
}

static inline void close_all(void)
{
	env_clear(&vm.env);
	events_free(vms.events);
	secret_key_free(vms.key);
	store_close(vms.store);
	event_base_free(vms.base);
}

static inline void reopen(void)
{
	close_all();
	open_all();
}

static inline void env_rig_start(void)
{
	struct store_vm row = {.name = "web", .config = "{}", .policy = "{}", .hosts = "{}"};

	unsetenv("CREDENTIALS_DIRECTORY");
	strcpy(dir, "/tmp/nctl-env.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/netctl.db", dir);
	snprintf(key_path, sizeof(key_path), "%s/netctl.key", dir);
	open_all();
	ck_assert_int_eq(store_vm_insert(vms.store, &row, &err), 0);
}

static inline void env_rig_stop(void)
{
	DIR *list;
	struct dirent *entry;
	char name[512];

	close_all();
	list = opendir(dir);
	while (list && (entry = readdir(list))) {
		snprintf(name, sizeof(name), "%s/%s", dir, entry->d_name);
		unlink(name);
	}
	if (list)
		closedir(list);
	rmdir(dir);
}

/* Sets a secret to a text. */
static inline int set_secret(const char *name, const char *value)
{
	return vm_secret_set(&vm, name, value, strlen(value), &err);
}

static inline void set_env(const char *text)
{
	struct json_object *doc = json_tokener_parse(text);

	ck_assert_msg(vm_env_set(&vm, doc, &err) == 0, "%s", err.text);
	json_object_put(doc);
}

/* The document as text, valid until the next call. */
static inline const char *document(void)
{
	static char text[4u << 20];
	char *made = NULL;
	size_t len = 0;

	ck_assert_msg(vm_env_document(&vm, &made, &len, &err) == 0, "%s", err.text);
	ck_assert_uint_lt(len, sizeof(text));
	memcpy(text, made, len);
	text[len] = '\0';
	os_wipe(made, len);
	free(made);
	return text;
}

#endif
