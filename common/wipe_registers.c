/* SPDX-License-Identifier: MIT */
/*
 * Vector registers, wiped. See wipe_registers.h.
 *
 * memcpy(3) and ciphers move data by them, and what they moved last stays there for as long as the
 * process sleeps: a core dump has it.
 */
#include "common/wipe_registers.h"

#if defined(__x86_64__)

void wipe_registers(void)
{
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroall" ::
					 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
				 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
				 "xmm14", "xmm15");
	else
		__asm__ volatile("xorps %%xmm0, %%xmm0\n xorps %%xmm1, %%xmm1\n"
				 "xorps %%xmm2, %%xmm2\n xorps %%xmm3, %%xmm3\n"
				 "xorps %%xmm4, %%xmm4\n xorps %%xmm5, %%xmm5\n"
				 "xorps %%xmm6, %%xmm6\n xorps %%xmm7, %%xmm7\n"
				 "xorps %%xmm8, %%xmm8\n xorps %%xmm9, %%xmm9\n"
				 "xorps %%xmm10, %%xmm10\n xorps %%xmm11, %%xmm11\n"
				 "xorps %%xmm12, %%xmm12\n xorps %%xmm13, %%xmm13\n"
				 "xorps %%xmm14, %%xmm14\n xorps %%xmm15, %%xmm15\n" ::
					 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
				 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
				 "xmm14", "xmm15");
	/* The compiler, not told of AVX-512, has nothing in these. */
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("vpxorq %zmm16, %zmm16, %zmm16\n vpxorq %zmm17, %zmm17, %zmm17\n"
				 "vpxorq %zmm18, %zmm18, %zmm18\n vpxorq %zmm19, %zmm19, %zmm19\n"
				 "vpxorq %zmm20, %zmm20, %zmm20\n vpxorq %zmm21, %zmm21, %zmm21\n"
				 "vpxorq %zmm22, %zmm22, %zmm22\n vpxorq %zmm23, %zmm23, %zmm23\n"
				 "vpxorq %zmm24, %zmm24, %zmm24\n vpxorq %zmm25, %zmm25, %zmm25\n"
				 "vpxorq %zmm26, %zmm26, %zmm26\n vpxorq %zmm27, %zmm27, %zmm27\n"
				 "vpxorq %zmm28, %zmm28, %zmm28\n vpxorq %zmm29, %zmm29, %zmm29\n"
				 "vpxorq %zmm30, %zmm30, %zmm30\n vpxorq %zmm31, %zmm31, %zmm31\n");
}

#elif defined(__aarch64__)

void wipe_registers(void)
{
	__asm__ volatile(
		"movi v0.2d, #0\n movi v1.2d, #0\n movi v2.2d, #0\n movi v3.2d, #0\n"
		"movi v4.2d, #0\n movi v5.2d, #0\n movi v6.2d, #0\n movi v7.2d, #0\n"
		"movi v16.2d, #0\n movi v17.2d, #0\n movi v18.2d, #0\n movi v19.2d, #0\n"
		"movi v20.2d, #0\n movi v21.2d, #0\n movi v22.2d, #0\n movi v23.2d, #0\n"
		"movi v24.2d, #0\n movi v25.2d, #0\n movi v26.2d, #0\n movi v27.2d, #0\n"
		"movi v28.2d, #0\n movi v29.2d, #0\n movi v30.2d, #0\n movi v31.2d, #0\n" ::
			: "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18",
		"v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",
		"v31");
}

#else

void wipe_registers(void)
{
}

#endif
