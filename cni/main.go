// Command retic-cni is a chained CNI plugin: it holds a new pod until the node's agent has captured it.
//
// It decides nothing and changes nothing itself: it tells the agent which pod has come, hands over the pod's
// network namespace, waits for the answer, and passes on the result of the plugin before it as it is. Without the
// agent's yes a pod does not start.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// The error codes of the CNI specification ("Error", 1.1.0) that are used here.
const (
	codeVersion     = 1  // incompatible CNI version
	codeEnvironment = 4  // a variable of the environment is missing or wrong
	codeInput       = 5  // reading standard input failed
	codeDecode      = 6  // standard input is no JSON of the right form
	codeConfig      = 7  // the configuration is of no use
	codeAgain       = 11 // try again later
	codeUnavailable = 50 // STATUS: no pod can be added now
)

const longestInput = 4 << 20 // bytes of configuration

var supported = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// failure is what the runtime is told instead of a result.
type failure struct {
	code    int
	message string
	details string
}

func (f *failure) Error() string { return f.message + ": " + f.details }

func fail(code int, message string, details any) error {
	return &failure{code, message, fmt.Sprint(details)}
}

func main() {
	os.Exit(run(os.Getenv, os.Stdin, os.Stdout))
}

// run does one command of the runtime and returns the exit status.
func run(getenv func(string) string, input io.Reader, output io.Writer) int {
	version := supported[len(supported)-1]
	result, err := answer(getenv, input, &version)
	if err == nil {
		if len(result) > 0 {
			if _, err := output.Write(append(result, '\n')); err != nil {
				return 1
			}
		}
		return 0
	}
	said := &failure{code: codeAgain, message: "retic-cni failed", details: err.Error()}
	errors.As(err, &said)
	text, _ := json.Marshal(map[string]any{
		"cniVersion": version, "code": said.code, "msg": "retic-cni: " + said.message, "details": said.details,
	})
	_, _ = output.Write(append(text, '\n'))
	return 1
}

func answer(getenv func(string) string, input io.Reader, version *string) ([]byte, error) {
	command := getenv("CNI_COMMAND")
	if command == "VERSION" {
		return json.Marshal(map[string]any{"cniVersion": *version, "supportedVersions": supported})
	}
	text, err := io.ReadAll(io.LimitReader(input, longestInput+1))
	if err != nil {
		return nil, fail(codeInput, "standard input cannot be read", err)
	}
	given, err := readConfig(text)
	if err != nil {
		return nil, err
	}
	*version = given.Version
	switch command {
	case "ADD":
		return add(getenv, given)
	case "CHECK":
		return nil, check(getenv, given)
	case "DEL":
		return nil, del(getenv, given)
	case "STATUS":
		return nil, status(given)
	case "GC":
		return nil, nil // the agent compares with what the cluster has, all the time
	}
	return nil, fail(codeEnvironment, "CNI_COMMAND is not known", fmt.Sprintf("%q", command))
}
