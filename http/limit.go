package http

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"varve/domain"
)

// window is the length of the rate-limit window in seconds.
const window = 60

const defaultRate = 6000 // requests a minute and class

// limiter holds a token bucket for each key or organization and class. A
// bucket holds one minute's tokens and fills evenly.
type limiter struct {
	now     func() time.Time
	mu      sync.Mutex
	buckets map[string]*tokens
}

type tokens struct {
	left float64
	at   time.Time
	rate int
}

const maxTokenBuckets = 100_000

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, buckets: map[string]*tokens{}}
}

// take takes one token; wait is the time until there is one, where there is none.
func (l *limiter) take(name string, rate int) (left int, reset time.Time, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.buckets[name]
	if b == nil || b.rate != rate {
		if len(l.buckets) >= maxTokenBuckets {
			l.forget(now)
		}
		b = &tokens{left: float64(rate), at: now, rate: rate}
		l.buckets[name] = b
	}
	perSecond := float64(rate) / window
	b.left = min(float64(rate), b.left+max(0, now.Sub(b.at).Seconds())*perSecond)
	b.at = now
	if b.left < 1 {
		wait = time.Duration((1 - b.left) / perSecond * float64(time.Second))
	} else {
		b.left--
	}
	full := time.Duration((float64(rate) - b.left) / perSecond * float64(time.Second))
	return int(b.left), now.Add(full), wait
}

// forget drops buckets that are full again: they say nothing.
func (l *limiter) forget(now time.Time) {
	for name, b := range l.buckets {
		if now.Sub(b.at) > window*time.Second {
			delete(l.buckets, name)
		}
	}
}

// limit counts a request against the key's override, else the organization's
// limit of the class, else the server's (then each key has its own).
func (s *Server) limit(c *Call, n needs) error {
	class := n.Class
	switch class {
	case "none":
		return nil
	case "":
		class = "metadata"
	}
	name, rate := "key "+c.Key.KeyID+" "+class, c.Key.RateLimitOverride
	if rate == 0 {
		if of, ok := c.Organization.RateLimits[class]; ok {
			name, rate = "organization "+c.Organization.ID+" "+class, of
		} else if rate = s.Limits.Rate[class]; rate == 0 {
			rate = defaultRate
		}
	}
	if rate < 0 {
		return nil
	}
	left, reset, wait := s.limiter.take(name, max(rate, 1))
	h := c.writer.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(rate))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	h.Set("X-RateLimit-Window", strconv.Itoa(window))
	if wait == 0 {
		return nil
	}
	seconds := math.Ceil(wait.Seconds())
	return &domain.Error{Code: domain.CodeRateLimited, Reason: "rate_limited", RetryAfter: seconds,
		Message: fmt.Sprintf("more than %d %s requests a minute; try again in %.0f s", rate, class, seconds),
		Details: map[string]any{"class": class, "limit": rate, "window_seconds": window}}
}
