// What the checks of all Go clients share; ../python/checks.py says which settings and lines there are.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
)

const count = 250

type object = map[string]any

type skip string

func (s skip) Error() string { return string(s) }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func same(what string, found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		panic(fmt.Errorf("%s: found %v, not %v", what, found, expected))
	}
}

func reader(value any) io.ReadSeeker {
	text, err := json.Marshal(value)
	check(err)
	return bytes.NewReader(text)
}

func n(comparison object) object {
	return object{"query": object{"range": object{"n": comparison}}}
}

type arrival struct {
	Path    string
	Headers map[string]string
}

func arrived(part string) []arrival {
	response, err := http.Get(os.Getenv("CLIENT_TAP") + "/requests?path=" + url.QueryEscape(part))
	check(err)
	defer response.Body.Close()
	var out []arrival
	check(json.NewDecoder(response.Body).Decode(&out))
	return out
}

func fail(path string, status, times int) {
	rule := reader(object{"path": path, "status": status, "times": times})
	response, err := http.Post(os.Getenv("CLIENT_TAP")+"/fail", "application/json", rule)
	check(err)
	response.Body.Close()
}

// step is a check of a client of type C.
type step[C any] struct {
	name string
	do   func(C) string
}

func run[C any](name string, es C, do func(C) string) (passed bool) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
			passed = true
		case skip:
			passed = true
			fmt.Printf("skip %s - %s\n", name, reason)
		default:
			fmt.Printf("not ok %s - %s\n", name, strings.Join(strings.Fields(fmt.Sprint(reason)), " "))
		}
	}()
	fmt.Printf("ok %s - %s\n", name, do(es))
	return
}

func runAll[C any](version string, es C, steps []step[C]) {
	fmt.Println("version", version)
	status := 0
	for _, step := range steps {
		if !run(step.name, es, step.do) {
			status = 1
		}
	}
	os.Exit(status)
}
