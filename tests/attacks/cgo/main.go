package main

// #cgo CFLAGS: -fplugin=/box/work/none.so -I/
// #cgo LDFLAGS: -Wl,--just-symbols=/etc/shadow
// #include "/etc/shadow"
import "C"

import "fmt"

func main() { fmt.Println("BROKEN /etc/shadow was included") }
