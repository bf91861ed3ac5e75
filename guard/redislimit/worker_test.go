package redislimit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sreagent/sreagent/guard"
)

// task is what a worker process does: calls of Take from many goroutines.
type task struct {
	Redis   guard.RedisConfig
	Limit   guard.LimitConfig
	Callers int
	Calls   int // of each caller
}

// tally is what it reports.
type tally struct {
	Admitted, Refused, Errors int64
	Longest                   time.Duration
}

// work says ready, waits for a line and then takes as the task says.
func work() {
	var t task
	if err := json.Unmarshal([]byte(os.Getenv(workerEnv)), &t); err != nil {
		fmt.Println("task:", err)
		return
	}
	s, err := New(t.Redis)
	if err != nil {
		fmt.Println("store:", err)
		return
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return
	}
	var admitted, refused, failed atomic.Int64
	var mu sync.Mutex
	var longest time.Duration
	var callers sync.WaitGroup
	for range t.Callers {
		callers.Go(func() {
			for range t.Calls {
				began := time.Now()
				ok, _, err := s.Take(context.Background(), t.Limit, "", 1)
				mu.Lock()
				longest = max(longest, time.Since(began))
				mu.Unlock()
				switch {
				case err != nil:
					failed.Add(1)
				case ok:
					admitted.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	callers.Wait()
	_ = s.Close()
	_ = json.NewEncoder(os.Stdout).Encode(tally{admitted.Load(), refused.Load(), failed.Load(), longest})
}
