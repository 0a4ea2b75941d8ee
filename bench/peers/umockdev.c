// SPDX-License-Identifier: MIT
/*
 * umockdev-wrapper umockdev COMMAND [ARGUMENT]...: run a (dynamic) program for which /dev/bench has
 * ioctls, answered by a handler of umockdev's in C.
 */
#include <sys/wait.h>
#include <umockdev.h>
#include <unistd.h>

#include "../clients/bench.h"

static gboolean handle(UMockdevIoctlBase *base, UMockdevIoctlClient *client, gpointer unused)
{
	gulong request = umockdev_ioctl_client_get_request(client);
	struct bench_exchange *exchange;
	UMockdevIoctlData *data;

	(void)base, (void)unused;
	if (request == BENCH_PING) {
		umockdev_ioctl_client_complete(client, 0, 0);
		return TRUE;
	}
	if (request != BENCH_EXCHANGE)
		return FALSE;
	data = umockdev_ioctl_data_resolve(umockdev_ioctl_client_get_arg(client), 0,
					   sizeof(*exchange), NULL);
	if (!data)
		return FALSE;
	exchange = (struct bench_exchange *)data->data;
	exchange->out = exchange->in + 1;
	umockdev_ioctl_client_complete(client, 0, 0);
	umockdev_ioctl_data_unref(data);
	return TRUE;
}

static int status = 1;

static void ended(GPid pid, gint how, gpointer loop)
{
	(void)pid;
	status = WIFEXITED(how) ? WEXITSTATUS(how) : 1;
	g_main_loop_quit(loop);
}

int main(int argc, char **argv)
{
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	UMockdevTestbed *testbed;
	UMockdevIoctlBase *base;
	GError *error = NULL;
	GPid pid;

	if (argc < 2)
		return 2;
	testbed = umockdev_testbed_new();
	umockdev_testbed_add_from_string(
		testbed, "P: /devices/bench\nN: bench\nE: DEVNAME=/dev/bench\nE: SUBSYSTEM=bench\n",
		&error);
	base = umockdev_ioctl_base_new();
	g_signal_connect(base, "handle-ioctl", G_CALLBACK(handle), NULL);
	if (error || !umockdev_testbed_attach_ioctl(testbed, "/dev/bench", base, &error) ||
	    !g_spawn_async(NULL, argv + 1, NULL,
			   G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL,
			   &pid, &error)) {
		fprintf(stderr, "umockdev: %s\n", error->message);
		return 1;
	}
	g_child_watch_add(pid, ended, loop);
	g_main_loop_run(loop);
	umockdev_testbed_detach_ioctl(testbed, "/dev/bench", NULL);
	g_object_unref(testbed);
	return status;
}
