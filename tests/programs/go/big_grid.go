package main

import (
	"bufio"
	"container/heap"
	"fmt"
	"math"
	"os"
)

// Game of life, the Mandelbrot set and a priority queue; much output.
const width, height = 120, 36

type grid [height][width]bool

func (g *grid) step() (next grid, alive int) {
	for y := range g {
		for x := range g[y] {
			around := 0
			for _, d := range [8][2]int{{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}, {0, 1}, {1, -1}, {1, 0}, {1, 1}} {
				if g[(y+d[0]+height)%height][(x+d[1]+width)%width] {
					around++
				}
			}
			if next[y][x] = around == 3 || around == 2 && g[y][x]; next[y][x] {
				alive++
			}
		}
	}
	return
}

type queue []uint32

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i] < q[j] }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(uint32)) }
func (q *queue) Pop() any          { x := (*q)[len(*q)-1]; *q = (*q)[:len(*q)-1]; return x }

func main() {
	out := bufio.NewWriterSize(os.Stdout, 4096)
	defer out.Flush()
	var life grid
	for _, cell := range [][2]int{{1, 0}, {2, 1}, {0, 2}, {1, 2}, {2, 2}, {61, 20}, {62, 19}, {62, 20}, {62, 21}, {63, 19}} {
		life[cell[1]][cell[0]] = true
	}
	for generation := 1; generation <= 70; generation++ {
		var alive int
		life, alive = life.step()
		fmt.Fprintf(out, "generation %d, %d alive\n", generation, alive)
		for _, row := range life {
			for _, cell := range row {
				out.WriteByte(".#"[map[bool]int{true: 1}[cell]])
			}
			out.WriteByte('\n')
		}
	}
	for y := -1.2; y < 1.2; y += 0.1 {
		for x := -2.0; x < 0.7; x += 0.04 {
			c, z, n := complex(x, y), complex(0, 0), 0
			for ; n < 40 && math.Hypot(real(z), imag(z)) < 2; n++ {
				z = z*z + c
			}
			out.WriteByte(" .:-=+*#%@@"[n/4])
		}
		fmt.Fprintf(out, "|%+.2f\n", y)
	}
	q, seed := &queue{}, uint32(1)
	for i := 0; i < 1000; i++ {
		seed = seed*1664525 + 1013904223
		heap.Push(q, seed>>12)
	}
	for i := 0; i < 5; i++ {
		fmt.Fprint(out, heap.Pop(q), " ")
	}
	fmt.Fprintln(out, q.Len())
}
