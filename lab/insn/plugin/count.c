/*
 * A plugin of qemu's user mode that adds up the guest instructions which run and
 * says the sum at the end, as one line "instructions N".
 *
 * Translation blocks are counted as a whole when they start, which is exact but
 * for the rare block that a fault leaves early. Distributions ship no header for
 * plugins of qemu 7.2 (interface version 1): what is needed is declared here.
 *
 *   gcc -O2 -shared -fPIC -o count.so count.c
 *   qemu-arm -plugin ./count.so -d plugin PROGRAM
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

struct qemu_plugin_tb;
typedef uint64_t plugin_id;
enum { NO_REGISTERS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
void qemu_plugin_outs(const char *);

int qemu_plugin_version = 1;

/* A thread is a vcpu and has its own cache line: no update gets lost. Threads
 * beyond the last slot share slots. */
enum { SLOTS = 256 };
static struct slot {
	uint64_t ran;
	char apart[64 - sizeof(uint64_t)];
} slots[SLOTS];

static void block_starts(unsigned vcpu, void *length)
{
	slots[vcpu % SLOTS].ran += (uintptr_t)length;
}

static void block_translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block_starts, NO_REGISTERS, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

static void at_exit(plugin_id id, void *unused)
{
	uint64_t sum = 0;
	char line[48];

	(void)id;
	(void)unused;
	for (int i = 0; i < SLOTS; i++)
		sum += slots[i].ran;
	snprintf(line, sizeof line, "instructions %" PRIu64 "\n", sum);
	qemu_plugin_outs(line);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	(void)argc;
	(void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
