package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

func main() {
	var n int
	if _, err := fmt.Scan(&n); err != nil {
		panic(err)
	}
	var wait sync.WaitGroup
	wait.Add(1)
	go func() {
		defer wait.Done()
		n++
	}()
	wait.Wait()
	text, _ := json.Marshal(map[string]int{"a": 1})
	fmt.Println(n, os.Args[1:], string(text))
}
