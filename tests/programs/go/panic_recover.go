package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// Errors that are wrapped, panics that are recovered from, and one that is not.
type stepError struct {
	step int
	err  error
}

func (e *stepError) Error() string { return "step " + strconv.Itoa(e.step) + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func run(step int, work func()) (err error) {
	defer fmt.Println("after step", step)
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case runtime.Error:
			err = &stepError{step, cause}
		case error:
			err = fmt.Errorf("wrapped: %w", &stepError{step, cause})
		default:
			err = &stepError{step, fmt.Errorf("panic of %T: %v", cause, cause)}
		}
	}()
	work()
	return nil
}

func main() {
	defer fmt.Println("deferred in main")
	var (
		nothing map[string]int
		list    = []int{1, 2, 3}
		zero    int
		pointer *stepError
		value   any = "text"
	)
	steps := []func(){
		func() { fmt.Println("all is well") },
		func() { nothing["a"] = 1 },
		func() { fmt.Println(list[len(list)+zero]) },
		func() { fmt.Println(10 / zero) },
		func() { fmt.Println(pointer.step) },
		func() { fmt.Println(value.(int)) },
		func() { panic(os.ErrNotExist) },
		func() { panic(42) },
		func() { close((chan int)(nil)) },
	}
	for i, work := range steps {
		err := run(i, work)
		var failed *stepError
		fmt.Println(" ", err, errors.As(err, &failed), errors.Is(err, os.ErrNotExist))
	}
	_, err := strconv.Atoi("12x")
	fmt.Println(err, errors.Is(err, strconv.ErrSyntax))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { fmt.Println("goroutine:", recover()) }()
		panic("elsewhere")
	}()
	<-done
	panic(&stepError{99, errors.New("nobody recovers from this")})
}
