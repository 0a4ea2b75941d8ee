// SPDX-License-Identifier: MIT
/*
 * pan DEVICE: draw on a framebuffer of 32 bits per pixel as a double-buffered program does.
 *
 * Fills the first screen with 0xff112233 and the second with 0xff445566, shows the second, and
 * goes through the rest of the ioctls. Prints what went wrong, line by line; nothing if all is well.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int failures;

static void expect(const char *what, int good)
{
	if (good)
		return;
	printf("%s (errno %d: %s)\n", what, errno, strerror(errno));
	failures++;
}

#define EXPECT(condition) expect(#condition, condition)
#define EXPECT_ERRNO(call, number) expect(#call " gives " #number, (call) == -1 && errno == (number))

int main(int argc, char **argv)
{
	struct fb_var_screeninfo var, tried;
	struct fb_fix_screeninfo fix;
	uint16_t red[2] = { 1, 2 }, green[2] = { 3, 4 }, blue[2] = { 5, 6 }, got[2];
	struct fb_cmap cmap = { .start = 7, .len = 2, .red = red, .green = green, .blue = blue };
	uint32_t crtc = 0, *screen;
	size_t pixels, i;
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDWR);
	EXPECT(fd >= 0);
	EXPECT(ioctl(fd, FBIOGET_VSCREENINFO, &var) == 0);
	EXPECT(ioctl(fd, FBIOGET_FSCREENINFO, &fix) == 0);
	EXPECT(var.yres_virtual == 2 * var.yres);
	EXPECT(var.bits_per_pixel == 32 && fix.line_length == var.xres * 4);
	EXPECT(fix.smem_len >= fix.line_length * var.yres_virtual);
	if (failures)
		return 1;

	screen = mmap(NULL, fix.smem_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT(screen != MAP_FAILED);
	if (failures)
		return 1;
	pixels = (size_t)var.xres * var.yres;
	for (i = 0; i < pixels; i++) {
		screen[i] = 0xff112233;
		screen[pixels + i] = 0xff445566;
	}

	EXPECT(ioctl(fd, FBIO_WAITFORVSYNC, &crtc) == 0);
	tried = var;
	tried.yoffset = var.yres + 1;
	EXPECT_ERRNO(ioctl(fd, FBIOPAN_DISPLAY, &tried), EINVAL);
	tried.yoffset = var.yres;
	EXPECT(ioctl(fd, FBIOPAN_DISPLAY, &tried) == 0);
	EXPECT(ioctl(fd, FBIOGET_VSCREENINFO, &var) == 0 && var.yoffset == var.yres);

	tried = var;
	tried.bits_per_pixel = 12;
	EXPECT_ERRNO(ioctl(fd, FBIOPUT_VSCREENINFO, &tried), EINVAL);
	tried = var;
	tried.yres_virtual = 1 << 20;
	EXPECT_ERRNO(ioctl(fd, FBIOPUT_VSCREENINFO, &tried), ENOMEM);
	tried = var;
	tried.bits_per_pixel = 16;
	tried.activate = FB_ACTIVATE_TEST;
	EXPECT(ioctl(fd, FBIOPUT_VSCREENINFO, &tried) == 0 && tried.green.length == 6);
	EXPECT(ioctl(fd, FBIOGET_VSCREENINFO, &var) == 0 && var.bits_per_pixel == 32);

	EXPECT(ioctl(fd, FBIOPUTCMAP, &cmap) == 0);
	cmap.green = got;
	EXPECT(ioctl(fd, FBIOGETCMAP, &cmap) == 0 && got[0] == 3 && got[1] == 4);
	cmap.green = (uint16_t *)8;
	EXPECT_ERRNO(ioctl(fd, FBIOGETCMAP, &cmap), EFAULT);
	cmap.start = 255;
	EXPECT_ERRNO(ioctl(fd, FBIOGETCMAP, &cmap), EINVAL);
	EXPECT_ERRNO(ioctl(fd, FBIOGET_VSCREENINFO, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(fd, 0x46ff, 0), ENOTTY);
	EXPECT(ioctl(fd, FBIOBLANK, FB_BLANK_POWERDOWN) == 0);
	EXPECT(ioctl(fd, FBIOBLANK, FB_BLANK_UNBLANK) == 0);

	EXPECT(munmap(screen, fix.smem_len) == 0);
	EXPECT(close(fd) == 0);
	return failures != 0;
}
