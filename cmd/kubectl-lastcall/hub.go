package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// client asks one hub.
type client struct {
	base   string // "https://HOST", without a path
	token  string // "" if there is none
	http   *http.Client
	name   string // for people
	advice string // what to do if it does not answer
	refuse string // what to do if it does not take the token
	pages  pages
	renew  time.Time // when the token is about to expire; zero if nobody here can renew it
	close  func()
}

const (
	// answerTime is for a whole answer. The hub's own pages take less than 200 ms.
	answerTime = 30 * time.Second
	// answerSize bounds what a hub, or what is taken for one, can make us hold: a rollout of a thousand pods, each
	// with its 64 places, is about half of it.
	answerSize = 32 << 20
)

// hubError is an answer that says no.
type hubError struct {
	code int
	text string // visible
	hub  *client
}

func (e hubError) Error() string {
	switch e.code {
	case http.StatusUnauthorized:
		return fmt.Sprintf("the hub (%s) does not accept the token: %s\n%s", e.hub.name, e.text, e.hub.refuse)
	case http.StatusForbidden:
		return fmt.Sprintf("the hub (%s) does not let the token's user read: %s\n%s", e.hub.name, e.text, e.hub.refuse)
	case http.StatusNotFound:
		return e.text
	}
	return fmt.Sprintf("the hub (%s) answers %d: %s", e.hub.name, e.code, e.text)
}

func isNotFound(err error) bool {
	var e hubError
	return errors.As(err, &e) && e.code == http.StatusNotFound
}

// get asks for a path and decodes the answer.
func get[T any](ctx context.Context, c *client, path string, query url.Values) (answer T, err error) {
	body, err := c.fetch(ctx, path, query)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("the answer of the hub (%s) to %s makes no sense: %s\nIs that a lastcall hub, and of this version (%s)?",
			c.name, path, visible(err.Error()), buildVersion())
	}
	return answer, nil
}

func (c *client) fetch(ctx context.Context, path string, query url.Values) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	q, err := http.NewRequestWithContext(limited, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", "kubectl-lastcall/"+buildVersion())
	if c.token != "" {
		q.Header.Set("Authorization", "Bearer "+c.token)
	}
	a, err := c.http.Do(q)
	if err != nil {
		return nil, c.away(ctx, err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, answerSize+1))
	switch {
	case err != nil:
		return nil, c.away(ctx, err)
	case len(body) > answerSize:
		return nil, fmt.Errorf("the answer of the hub (%s) to %s is larger than %d MiB and was not read to its end\n"+
			"Ask for less: a shorter --since, or one pod", c.name, path, answerSize>>20)
	case a.StatusCode != http.StatusOK:
		return nil, hubError{a.StatusCode, reason(a, body), c}
	}
	return body, nil
}

// reason is what an answer other than 200 says.
func reason(a *http.Response, body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error != "" {
		return visible(e.Error)
	}
	if to := a.Header.Get("Location"); to != "" {
		return "a redirection, to " + visible(strconv.Quote(to)) + ", which is not followed with a token"
	}
	return http.StatusText(a.StatusCode)
}

// away is for a hub that did not answer.
func (c *client) away(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, which is long and which c.name says better
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", answerTime)
	}
	return fmt.Errorf("the hub (%s) does not answer: %w\n%s", c.name, err, c.advice)
}
