// SPDX-License-Identifier: MIT
/* fb_layout: print the compiler's layout of the framebuffer's structures: "STRUCT FIELD OFFSET". */
#include <linux/fb.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define SIZE(type) printf(#type " sizeof %zu\n", sizeof(struct type))
#define FIELD(type, field) printf(#type " " #field " %zu\n", offsetof(struct type, field))

int main(void)
{
	SIZE(fb_bitfield);
	SIZE(fb_var_screeninfo);
	FIELD(fb_var_screeninfo, xoffset);
	FIELD(fb_var_screeninfo, bits_per_pixel);
	FIELD(fb_var_screeninfo, transp);
	FIELD(fb_var_screeninfo, activate);
	FIELD(fb_var_screeninfo, pixclock);
	FIELD(fb_var_screeninfo, vmode);
	FIELD(fb_var_screeninfo, reserved);
	SIZE(fb_fix_screeninfo);
	FIELD(fb_fix_screeninfo, smem_len);
	FIELD(fb_fix_screeninfo, ywrapstep);
	FIELD(fb_fix_screeninfo, line_length);
	FIELD(fb_fix_screeninfo, mmio_start);
	FIELD(fb_fix_screeninfo, capabilities);
	SIZE(fb_cmap);
	FIELD(fb_cmap, red);
	FIELD(fb_cmap, transp);
	printf("FBIO_WAITFORVSYNC number %lu\n", (unsigned long)FBIO_WAITFORVSYNC);
	return 0;
}
