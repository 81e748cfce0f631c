/* SPDX-License-Identifier: MIT */
/* The key that seals secrets: where it comes from, when it is refused, and what it seals. */
#include "tests/unit/env_rig.h"

#include <errno.h>
#include <sys/stat.h>

static char credentials[64];

static void write_file(const char *name, const char *bytes, size_t len, mode_t mode)
{
	FILE *f = fopen(name, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	fclose(f);
	ck_assert_int_eq(chmod(name, mode), 0);
}

static void give_credential(const char *bytes, size_t len)
{
	char name[128];

	strcpy(credentials, "/tmp/nctl-cred.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(credentials));
	setenv("CREDENTIALS_DIRECTORY", credentials, 1);
	snprintf(name, sizeof(name), "%s/netctl-store-key", credentials);
	write_file(name, bytes, len, 0440);
}

static void take_credential(void)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/netctl-store-key", credentials);
	unlink(name);
	rmdir(credentials);
	unsetenv("CREDENTIALS_DIRECTORY");
}

/* ---- sealing ---- */

START_TEST(sealed_value_opens_where_it_belongs_only)
{
	uint8_t sealed[4 + SECRET_KEY_OVERHEAD], value[4];

	secret_key_seal(vms.key, "web", "S", "abcd", 4, sealed);
	ck_assert_int_eq(secret_key_unseal(vms.key, "web", "S", sealed, sizeof(sealed), value), 0);
	ck_assert_mem_eq(value, "abcd", 4);
	ck_assert_int_eq(
		secret_key_unseal(vms.key, "web", "T", sealed, sizeof(sealed), value), -EBADMSG);
	ck_assert_int_eq(
		secret_key_unseal(vms.key, "we", "bS", sealed, sizeof(sealed), value), -EBADMSG);
	ck_assert_int_eq(
		secret_key_unseal(vms.key, "db", "S", sealed, sizeof(sealed), value), -EBADMSG);
}
END_TEST

START_TEST(damaged_value_does_not_open)
{
	uint8_t sealed[4 + SECRET_KEY_OVERHEAD], value[4];

	secret_key_seal(vms.key, "web", "S", "abcd", 4, sealed);
	for (size_t i = 0; i < sizeof(sealed); i++) {
		sealed[i] ^= 1;
		ck_assert_int_eq(
			secret_key_unseal(vms.key, "web", "S", sealed, sizeof(sealed), value),
			-EBADMSG);
		sealed[i] ^= 1;
	}
	for (size_t len = 0; len < sizeof(sealed); len++)
		ck_assert_int_eq(
			secret_key_unseal(vms.key, "web", "S", sealed, len, value), -EBADMSG);
}
END_TEST

START_TEST(same_value_is_never_sealed_the_same)
{
	uint8_t one[4 + SECRET_KEY_OVERHEAD], two[4 + SECRET_KEY_OVERHEAD];

	secret_key_seal(vms.key, "web", "S", "abcd", 4, one);
	secret_key_seal(vms.key, "web", "S", "abcd", 4, two);
	ck_assert_mem_ne(one + 1, two + 1, 24);
	ck_assert_mem_ne(one + 25, two + 25, sizeof(one) - 25);
}
END_TEST

/* ---- where the key comes from ---- */

START_TEST(first_start_makes_a_private_file)
{
	struct stat st;

	ck_assert_int_eq(stat(key_path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 32);
}
END_TEST

START_TEST(credential_wins_over_the_file)
{
	static const char bytes[] = "0123456789abcdef0123456789abcdef";

	give_credential(bytes, 32);
	reopen();
	ck_assert_ptr_nonnull(vms.key);
	ck_assert_int_eq(set_secret("S", "value"), 0);
	reopen();
	ck_assert_str_eq(document(), "{\"env\":{},\"secrets\":{\"S\":\"value\"}}");
	take_credential();
	reopen();
	ck_assert_ptr_null(vms.key);
	ck_assert_ptr_nonnull(strstr(vms.key_error, "sealed with another"));
}
END_TEST

START_TEST(short_credential_is_refused)
{
	give_credential("0123456789abcdef0123456789abcde", 31);
	reopen();
	ck_assert_ptr_null(vms.key);
	ck_assert_ptr_nonnull(strstr(vms.key_error, "32 to 4096 bytes"));
	take_credential();
}
END_TEST

START_TEST(file_that_others_may_read_is_refused)
{
	ck_assert_int_eq(chmod(key_path, 0640), 0);
	reopen();
	ck_assert_ptr_null(vms.key);
	ck_assert_ptr_nonnull(strstr(vms.key_error, key_path));
	ck_assert_ptr_nonnull(strstr(vms.key_error, "0600"));
}
END_TEST

START_TEST(link_in_the_place_of_the_file_is_refused)
{
	char other[128];

	snprintf(other, sizeof(other), "%s/other", dir);
	ck_assert_int_eq(rename(key_path, other), 0);
	ck_assert_int_eq(symlink(other, key_path), 0);
	reopen();
	ck_assert_ptr_null(vms.key);
}
END_TEST

/* ---- without the right key ---- */

START_TEST(lost_key_is_replaced_only_where_nothing_needs_it)
{
	ck_assert_int_eq(set_secret("S", "value"), 0);
	unlink(key_path);
	reopen();
	ck_assert_ptr_null(vms.key);
	ck_assert_ptr_nonnull(strstr(vms.key_error, "not there"));
	ck_assert_int_eq(access(key_path, F_OK), -1);
	ck_assert_int_eq(vm_secret_delete(&vm, "S", &err), 0);
	reopen();
	ck_assert_ptr_nonnull(vms.key);
	ck_assert_int_eq(set_secret("S", "value"), 0);
}
END_TEST

START_TEST(another_key_is_refused_while_secrets_need_the_first)
{
	ck_assert_int_eq(set_secret("S", "value"), 0);
	unlink(key_path);
	write_file(key_path, "0123456789abcdef0123456789abcdef", 32, 0600);
	reopen();
	ck_assert_ptr_null(vms.key);
	ck_assert_ptr_nonnull(strstr(vms.key_error, "sealed with another"));
}
END_TEST

START_TEST(without_a_key_all_else_works)
{
	char *text;
	size_t len;

	ck_assert_int_eq(set_secret("S", "value"), 0);
	unlink(key_path);
	reopen();
	ck_assert_int_eq(set_secret("T", "value"), -1);
	ck_assert_int_eq(err.status, 503);
	ck_assert_ptr_nonnull(strstr(err.text, key_path));
	ck_assert_int_eq(vm_env_document(&vm, &text, &len, &err), -1);
	set_env("{\"A\":\"1\"}");
	ck_assert_int_eq(vm_secret_delete(&vm, "S", &err), 0);
	ck_assert_str_eq(document(), "{\"env\":{\"A\":\"1\"},\"secrets\":{}}");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("key of secrets");
	TCase *tc = tcase_create("key");

	tcase_add_checked_fixture(tc, env_rig_start, env_rig_stop);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, sealed_value_opens_where_it_belongs_only);
	tcase_add_test(tc, damaged_value_does_not_open);
	tcase_add_test(tc, same_value_is_never_sealed_the_same);
	tcase_add_test(tc, first_start_makes_a_private_file);
	tcase_add_test(tc, credential_wins_over_the_file);
	tcase_add_test(tc, short_credential_is_refused);
	tcase_add_test(tc, file_that_others_may_read_is_refused);
	tcase_add_test(tc, link_in_the_place_of_the_file_is_refused);
	tcase_add_test(tc, lost_key_is_replaced_only_where_nothing_needs_it);
	tcase_add_test(tc, another_key_is_refused_while_secrets_need_the_first);
	tcase_add_test(tc, without_a_key_all_else_works);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
