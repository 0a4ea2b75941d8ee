/*
 * Capture frames from a V4L2 device by mmap and write them to standard output.
 *
 *	v4l2_capture DEVICE COUNT
 *
 * A program without a C library that could be replaced: it is linked statically.
 */
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 3 };

static int fd;

static void call(unsigned long request, void *arg, const char *name)
{
	if (ioctl(fd, request, arg) < 0) {
		perror(name);
		exit(1);
	}
}

static struct v4l2_buffer buffer(unsigned int index)
{
	struct v4l2_buffer b;

	memset(&b, 0, sizeof(b));
	b.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	b.memory = V4L2_MEMORY_MMAP;
	b.index = index;
	return b;
}

int main(int argc, char **argv)
{
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE, count = argc > 2 ? atoi(argv[2]) : 1;
	struct v4l2_requestbuffers request = { .count = BUFFERS, .type = type,
					       .memory = V4L2_MEMORY_MMAP };
	struct v4l2_buffer b;
	void *maps[BUFFERS];
	unsigned int i;

	fd = open(argv[1], O_RDWR);
	if (fd < 0) {
		perror("open");
		return 1;
	}
	call(VIDIOC_REQBUFS, &request, "VIDIOC_REQBUFS");
	for (i = 0; i < request.count && i < BUFFERS; i++) {
		b = buffer(i);
		call(VIDIOC_QUERYBUF, &b, "VIDIOC_QUERYBUF");
		maps[i] = mmap(NULL, b.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, b.m.offset);
		if (maps[i] == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
		call(VIDIOC_QBUF, &b, "VIDIOC_QBUF");
	}
	call(VIDIOC_STREAMON, &type, "VIDIOC_STREAMON");
	while (count-- > 0) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };

		if (poll(&ready, 1, -1) != 1 || !(ready.revents & POLLIN)) {
			fprintf(stderr, "poll: %#x\n", ready.revents);
			return 1;
		}
		b = buffer(0);
		call(VIDIOC_DQBUF, &b, "VIDIOC_DQBUF");
		if (write(1, maps[b.index], b.bytesused) != (ssize_t)b.bytesused) {
			perror("write");
			return 1;
		}
		call(VIDIOC_QBUF, &b, "VIDIOC_QBUF");
	}
	call(VIDIOC_STREAMOFF, &type, "VIDIOC_STREAMOFF");
	return 0;
}
