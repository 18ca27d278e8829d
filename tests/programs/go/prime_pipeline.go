package main

import (
	"context"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
)

// A sieve made of goroutines, a pool of workers, and what select and context do.
func generate(ctx context.Context) <-chan int {
	out := make(chan int)
	go func() {
		defer close(out)
		for n := 2; ; n++ {
			select {
			case out <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func filter(in <-chan int, prime int) <-chan int {
	out := make(chan int)
	go func() {
		defer close(out)
		for n := range in {
			if n%prime != 0 {
				out <- n
			}
		}
	}()
	return out
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	in := generate(ctx)
	sum := 0
	for i := 1; i <= 150; i++ {
		prime := <-in
		sum += prime
		if i%25 == 0 {
			fmt.Printf("prime %3d is %3d, sum %6d\n", i, prime, sum)
		}
		in = filter(in, prime)
	}
	cancel()

	var wait sync.WaitGroup
	var calls int64
	jobs, results := make(chan int64, 4), make([]*big.Int, 6)
	for w := 0; w < 3; w++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for job := range jobs {
				results[job] = new(big.Int).MulRange(1, 10*job+5)
				atomic.AddInt64(&calls, 1)
			}
		}()
	}
	for job := range results {
		jobs <- int64(job)
	}
	close(jobs)
	wait.Wait()
	for i, result := range results {
		fmt.Printf("%d! = %d\n", 10*i+5, result)
	}
	fmt.Println(calls, ctx.Err(), new(big.Int).Exp(big.NewInt(3), big.NewInt(1000), big.NewInt(1000003)))
}
