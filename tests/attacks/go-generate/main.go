package main

import (
	"fmt"
	"os"
)

//go:generate sh -c "id > /tmp/generated; id > generated"

func main() {
	for _, name := range []string{"/tmp/generated", "generated"} {
		if _, err := os.Stat(name); err == nil {
			fmt.Println("BROKEN", name, "was generated")
		}
	}
	fmt.Println("held")
}
