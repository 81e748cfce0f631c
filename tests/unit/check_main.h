/* SPDX-License-Identifier: MIT */
/*
 * The end of every unit test program:
 *
 *	int main(void)
 *	{
 *		return run_suite(thing_suite());
 *	}
 *
 * CK_VERBOSITY, CK_FORK, CK_RUN_CASE and the like work as libcheck says.
 */
#ifndef TESTS_UNIT_CHECK_MAIN_H
#define TESTS_UNIT_CHECK_MAIN_H

#include <check.h>
#include <stdlib.h>

/* Runs the suite and frees it. Returns main()'s exit status. */
static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
