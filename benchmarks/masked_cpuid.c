// Answers `cpuid` in the place of the processor, without its AVX-512 (and, unless DD_KEEP_AVX_VNNI is set, without its
// AVX-VNNI). Loaded before a library in which every `cpuid` has become `ud2`, see engine_masked.py.
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

static volatile int answered;
static int keep_avx_vnni;

static void answer(int number, siginfo_t* info, void* context) {
    greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
    const unsigned char* instruction = (const unsigned char*)registers[REG_RIP];
    const unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX];
    unsigned a, b, c, d;
    (void)number, (void)info;
    if (instruction[0] != 0x0f || instruction[1] != 0x0b) abort();  // another illegal instruction: not ours
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {  // F DQ IFMA PF ER CD BW VL; VBMI VBMI2 VNNI BITALG VPOPCNTDQ; the rest, and AMX
        b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
        c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
        d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
    }
    if (leaf == 7 && part == 1) {  // AVX-512 BF16, AMX, AVX-IFMA; AVX10 and later byte products
        a &= ~(BIT(5) | BIT(21) | BIT(23));
        d = 0;
        if (!keep_avx_vnni) a &= ~BIT(4);
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
    answered++;
}

int masked_answers(void) { return answered; }

__attribute__((constructor)) static void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO;
    keep_avx_vnni = getenv("DD_KEEP_AVX_VNNI") != NULL;
    sigaction(SIGILL, &action, NULL);
}
