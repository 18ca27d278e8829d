package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// Runs other programs, joins them with pipes and looks at how they end.
func must(err error) {
	if err != nil {
		fmt.Println("unexpected:", err)
		os.Exit(1)
	}
}

func main() {
	sort := exec.Command("sort", "-n")
	sort.Stdin = strings.NewReader("10\n9\n100\n1\n")
	sort.Env = append(os.Environ(), "LC_ALL=C")
	out, err := sort.Output()
	fmt.Printf("%q %v\n", out, err)

	first := exec.Command("cat")
	second := exec.Command("sh", "-c", `while read -r a b; do echo "$b-$a $1"; done`, "sh", "x y")
	first.Stdin = strings.NewReader("one two\nthree four\n")
	second.Stdin, err = first.StdoutPipe()
	must(err)
	var joined bytes.Buffer
	second.Stdout = &joined
	must(second.Start())
	must(first.Run())
	must(second.Wait())
	fmt.Printf("%q\n", joined.String())

	for _, script := range []string{"exit 0", "echo oops >&2; exit 7", "kill -KILL $$"} {
		_, err := exec.Command("sh", "-c", script).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			fmt.Printf("%v, code %d, stderr %q\n", exit, exit.ExitCode(), exit.Stderr)
		} else {
			fmt.Println(err)
		}
	}
	_, err = exec.LookPath("no-such-program-here")
	fmt.Println(errors.Is(err, exec.ErrNotFound), err)

	ctx, cancel := context.WithCancel(context.Background())
	endless := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
	must(endless.Start())
	cancel()
	fmt.Println("cancelled:", endless.Wait())

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	must(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	fmt.Println("got", <-signals)
	big := exec.Command("cat")
	big.Stdin = bytes.NewReader(make([]byte, 300000))
	out, err = big.CombinedOutput()
	fmt.Println(len(out), err)
}
