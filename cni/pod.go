package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// pod is what the runtime says of the pod: all that it knows.
type pod struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Sandbox   string `json:"sandbox"`
	IP        string `json:"ip,omitempty"`
}

// readPod reads CNI_ARGS; nil for what is no pod of Kubernetes.
func readPod(getenv func(string) string) (*pod, error) {
	var found pod
	for _, pair := range strings.Split(getenv("CNI_ARGS"), ";") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "K8S_POD_NAMESPACE":
			found.Namespace = value
		case "K8S_POD_NAME":
			found.Name = value
		case "K8S_POD_UID":
			found.UID = value
		}
	}
	found.Sandbox = getenv("CNI_CONTAINERID")
	if found.Name == "" && found.UID == "" {
		return nil, nil
	}
	if found.Name == "" || found.UID == "" || found.Namespace == "" {
		return nil, fail(codeEnvironment, "the runtime does not say which pod this is",
			fmt.Sprintf("CNI_ARGS has K8S_POD_NAMESPACE=%q, K8S_POD_NAME=%q, K8S_POD_UID=%q: a runtime is needed that gives all three (containerd 1.6, CRI-O 1.24 or later)",
				found.Namespace, found.Name, found.UID))
	}
	return &found, nil
}

// concerned is the pod, or nil when the agent is not to be asked about it.
func concerned(getenv func(string) string, given config) (*pod, error) {
	found, err := readPod(getenv)
	if err != nil || found == nil || slices.Contains(given.Exclude, found.Namespace) {
		return nil, err
	}
	return found, nil
}

func add(getenv func(string) string, given config) ([]byte, error) {
	result, err := given.result()
	if err != nil {
		return nil, err
	}
	found, err := concerned(getenv, given)
	if err != nil || found == nil {
		return result, err
	}
	if found.IP, err = given.address(); err != nil {
		return nil, err
	}
	namespace, err := os.Open(getenv("CNI_NETNS"))
	if err != nil {
		return nil, fail(codeEnvironment, "the pod's network namespace cannot be opened (CNI_NETNS)", err)
	}
	defer namespace.Close()
	return result, ask(given, map[string]any{"add": found}, namespace, restart)
}

func check(getenv func(string) string, given config) error {
	if _, err := given.result(); err != nil {
		return err
	}
	found, err := concerned(getenv, given)
	if err != nil || found == nil {
		return err
	}
	return ask(given, map[string]any{"check": found}, nil, restart)
}

// del never fails: an agent that is away learns otherwise that the pod is gone.
func del(getenv func(string) string, given config) error {
	if found, err := concerned(getenv, given); err == nil && found != nil {
		_ = ask(given, map[string]any{"del": found}, nil, noPatience)
	}
	return nil
}

func status(given config) error {
	if err := ask(given, map[string]any{"status": true}, nil, noPatience); err != nil {
		return fail(codeUnavailable, "pods have to wait for the node's agent", err)
	}
	return nil
}
