// SPDX-License-Identifier: MIT

// netpoller PATH reads back what it writes to a device that hands on what is written to it. Both go
// through Go's netpoller, edge-triggered epoll: a wake-up that is missed is a timeout.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	data := make([]byte, 1<<16)
	for i := range data {
		data[i] = byte(i * 7)
	}
	file, err := os.OpenFile(os.Args[1], os.O_RDWR, 0)
	check(err)
	check(file.SetDeadline(time.Now().Add(10 * time.Second))) // fails if it is not polled
	go func() {
		_, err := file.Write(data)
		check(err)
	}()
	got := make([]byte, len(data))
	_, err = io.ReadFull(file, got)
	check(err)
	if !bytes.Equal(data, got) {
		os.Exit(2)
	}
	fmt.Println("ok")
}
