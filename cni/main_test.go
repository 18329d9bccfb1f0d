package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const previous = `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"fd00::5/64"},{"address":"10.42.0.5/24","interface":0}],"extra":{"kept": true}}`

// agent answers one question with the line given, and says what it was asked and handed.
type agent struct {
	socket string
	asked  chan string
	inode  chan uint64
}

func newAgent(t *testing.T, line string) agent {
	t.Helper()
	made := agent{filepath.Join(t.TempDir(), "cni.sock"), make(chan string, 1), make(chan uint64, 1)}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		client, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		defer client.Close()
		text, rights := make([]byte, 4096), make([]byte, 128)
		n, m, _, _, _ := client.ReadMsgUnix(text, rights)
		made.asked <- string(text[:n])
		made.inode <- inode(rights[:m])
		fmt.Fprint(client, line)
	}()
	return made
}

func inode(rights []byte) uint64 {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return 0
	}
	files, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		return 0
	}
	defer syscall.Close(files[0])
	var stat syscall.Stat_t
	_ = syscall.Fstat(files[0], &stat)
	return stat.Ino
}

func configured(socket, previous string) string {
	text := `{"cniVersion":"1.1.0","name":"net","type":"retic-cni","socket":"` + socket + `","exclude":["kube-system"],"seconds":2`
	if previous != "" {
		text += `,"prevResult":` + previous
	}
	return text + "}"
}

func command(verb, namespace string) map[string]string {
	return map[string]string{
		"CNI_COMMAND": verb, "CNI_CONTAINERID": "sandbox-1", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0",
		"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=sandbox-1;K8S_POD_UID=u-1",
	}
}

func call(environment map[string]string, input string) (int, string) {
	var output bytes.Buffer
	status := run(func(name string) string { return environment[name] }, strings.NewReader(input), &output)
	return status, strings.TrimSpace(output.String())
}

func refused(t *testing.T, environment map[string]string, input string, code int, words string) {
	t.Helper()
	status, output := call(environment, input)
	var said struct {
		Version string `json:"cniVersion"`
		Code    int    `json:"code"`
		Message string `json:"msg"`
		Details string `json:"details"`
	}
	if err := json.Unmarshal([]byte(output), &said); err != nil {
		t.Fatalf("%q is no error of CNI: %v", output, err)
	}
	if status != 1 || said.Code != code || !strings.Contains(said.Message+said.Details, words) || said.Version == "" {
		t.Fatalf("status %d, %s; wanted code %d and %q", status, output, code, words)
	}
}

func TestAddWaitsForTheAgentAndPassesTheResultOn(t *testing.T) {
	made := newAgent(t, `{"ok":true,"mesh":true}`+"\n")
	status, output := call(command("ADD", "shop"), configured(made.socket, previous))
	if status != 0 || output != previous {
		t.Fatalf("status %d, %s", status, output)
	}
	asked := <-made.asked
	wanted := `{"add":{"uid":"u-1","namespace":"shop","name":"web-1","sandbox":"sandbox-1","ip":"10.42.0.5"}}` + "\n"
	if asked != wanted {
		t.Fatalf("asked %s", asked)
	}
	var own syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &own); err != nil || <-made.inode != own.Ino {
		t.Fatal("the pod's network namespace was not handed over")
	}
}

func TestAddFailsClosed(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none.sock")
	refused(t, command("ADD", "shop"), strings.Replace(configured(nowhere, previous), `"seconds":2`, `"seconds":0.3`, 1), codeAgain, "not there")
	for line, words := range map[string]string{
		`{"error":"no certificate"}` + "\n": "no certificate", "": "did not answer", "nonsense\n": "nonsense", "{}\n": "says no",
		strings.Repeat("x", longestLine+1): "did not answer",
	} {
		refused(t, command("ADD", "shop"), configured(newAgent(t, line).socket, previous), codeAgain, words)
	}
}

func TestAnAgentThatHasTakenOverIsAsked(t *testing.T) {
	made := newAgent(t, `{"again":true}`+"\n")
	go func() {
		<-made.asked
		_ = os.Remove(made.socket)
		next, err := net.ListenUnix("unix", &net.UnixAddr{Name: made.socket, Net: "unix"})
		if err != nil {
			return
		}
		client, err := next.AcceptUnix()
		if err == nil {
			fmt.Fprint(client, `{"ok":true}`+"\n")
		}
	}()
	if status, output := call(command("ADD", "shop"), configured(made.socket, previous)); status != 0 || output != previous {
		t.Fatalf("status %d, %s", status, output)
	}
}

func TestWhoIsNotAskedAbout(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none.sock")
	excluded := command("ADD", "kube-system")
	foreign := command("ADD", "shop")
	foreign["CNI_ARGS"] = ""
	for _, environment := range []map[string]string{excluded, foreign} {
		if status, output := call(environment, configured(nowhere, previous)); status != 0 || output != previous {
			t.Fatalf("status %d, %s", status, output)
		}
	}
}

func TestDelNeverFails(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none.sock")
	if status, output := call(command("DEL", "shop"), configured(nowhere, "")); status != 0 || output != "" {
		t.Fatalf("status %d, %s", status, output)
	}
	made := newAgent(t, `{"error":"x"}`+"\n")
	if status, output := call(command("DEL", "shop"), configured(made.socket, "")); status != 0 || output != "" {
		t.Fatalf("status %d, %s", status, output)
	}
	if asked := <-made.asked; !strings.HasPrefix(asked, `{"del":{"uid":"u-1"`) {
		t.Fatalf("asked %s", asked)
	}
}

func TestCheckStatusAndGarbage(t *testing.T) {
	made := newAgent(t, `{"ok":true}`+"\n")
	if status, output := call(command("CHECK", "shop"), configured(made.socket, previous)); status != 0 || output != "" {
		t.Fatalf("status %d, %s", status, output)
	}
	refused(t, command("CHECK", "shop"), configured(newAgent(t, `{"error":"not captured"}`+"\n").socket, previous), codeAgain, "not captured")
	made = newAgent(t, `{"ok":true}`+"\n")
	if status, output := call(command("STATUS", ""), configured(made.socket, "")); status != 0 || output != "" {
		t.Fatalf("status %d, %s", status, output)
	}
	refused(t, command("STATUS", ""), configured("/nowhere/cni.sock", ""), codeUnavailable, "agent")
	if status, output := call(command("GC", ""), configured("/nowhere/cni.sock", "")); status != 0 || output != "" {
		t.Fatalf("status %d, %s", status, output)
	}
}

func TestVersions(t *testing.T) {
	status, output := call(command("VERSION", ""), "")
	if status != 0 || output != `{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}` {
		t.Fatalf("status %d, %s", status, output)
	}
	for _, version := range supported {
		made := newAgent(t, `{"ok":true}`+"\n")
		older := strings.ReplaceAll(configured(made.socket, strings.Replace(previous, `"cniVersion":"1.1.0",`, "", 1)), "1.1.0", version)
		status, output := call(command("ADD", "shop"), older)
		if status != 0 || !strings.Contains(output, `"cniVersion":"`+version+`"`) || !strings.Contains(output, `"extra":{"kept":true}`) {
			t.Fatalf("%s: status %d, %s", version, status, output)
		}
	}
}

func TestBadInput(t *testing.T) {
	good := configured("/run/x.sock", previous)
	add := command("ADD", "shop")
	refused(t, add, "", codeDecode, "configuration")
	refused(t, add, "[]", codeDecode, "configuration")
	refused(t, add, strings.Repeat(" ", longestInput+1), codeDecode, "too long")
	refused(t, add, strings.Replace(good, "1.1.0", "2.0.0", 1), codeVersion, "2.0.0")
	refused(t, add, strings.Replace(good, `"cniVersion":"1.1.0",`, "", 1), codeVersion, "0.1.0")
	refused(t, add, strings.Replace(good, "/run/x.sock", "x.sock", 1), codeConfig, "absolute")
	refused(t, add, configured("/run/x.sock", ""), codeConfig, "behind the plugin")
	refused(t, add, configured("/run/x.sock", `"text"`), codeDecode, "prevResult")
	refused(t, add, configured("/run/x.sock", `{"ips":[]}`), codeConfig, "no address")
	refused(t, add, configured("/run/x.sock", `{"ips":[{"address":"ten"}]}`), codeDecode, "address")
	refused(t, command("MAKE", "shop"), good, codeEnvironment, "MAKE")
	unknown := command("ADD", "shop")
	unknown["CNI_ARGS"] = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"
	refused(t, unknown, good, codeEnvironment, "K8S_POD_UID")
	unknown = command("ADD", "shop")
	unknown["CNI_NETNS"] = "/nowhere"
	refused(t, unknown, good, codeEnvironment, "CNI_NETNS")
}
