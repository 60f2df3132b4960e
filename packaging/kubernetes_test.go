package packaging_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// readPod reads the manifest with the API's own types: an unknown key is an error.
func readPod(t *testing.T) (*corev1.ConfigMap, *corev1.Pod) {
	t.Helper()
	b, err := os.ReadFile("kubernetes/pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := bytes.Split(b, []byte("\n---\n"))
	if len(docs) != 2 {
		t.Fatalf("%d documents", len(docs))
	}
	var config corev1.ConfigMap
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(docs[0], &config); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(docs[1], &pod); err != nil {
		t.Fatal(err)
	}
	return &config, &pod
}

func TestPodIsConsistent(t *testing.T) {
	config, pod := readPod(t)
	if config.APIVersion+config.Kind != "v1ConfigMap" || pod.APIVersion+pod.Kind != "v1Pod" {
		t.Errorf("%s %s, %s %s", config.APIVersion, config.Kind, pod.APIVersion, pod.Kind)
	}
	if len(pod.Spec.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Spec.Containers))
	}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			t.Errorf("there is no volume %q", m.Name)
		} else if v := pod.Spec.Volumes[i]; v.ConfigMap != nil && v.ConfigMap.Name != config.Name {
			t.Errorf("there is no ConfigMap %q", v.ConfigMap.Name)
		}
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s == nil || *s < 31 { // stop.timeout of the ConfigMap, 30s
		t.Error("the grace period is shorter than stop.timeout")
	}
}

// TestPodProbes runs the container as the pod says, and its probes.
func TestPodProbes(t *testing.T) {
	config, pod := readPod(t)
	img := buildImage(t)
	ctr := pod.Spec.Containers[0]
	for _, e := range ctr.Env {
		img.env = append(slices.DeleteFunc(img.env, func(kv string) bool { return kv == e.Name+"="+e.Value }), e.Name+"="+e.Value)
	}
	if err := os.WriteFile(filepath.Join(img.root, "etc/brood/brood.yaml"), []byte(config.Data["brood.yaml"]), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(img.root, 0o755); err != nil {
		t.Fatal(err)
	}
	c := startContainer(t, img, ctr.Args, int(*pod.Spec.SecurityContext.RunAsUser))
	probe := func(p *corev1.Probe) []string {
		if p == nil || p.Exec == nil {
			t.Fatal("a probe is missing, or is no command")
		}
		return p.Exec.Command
	}
	startup, ready, alive := probe(ctr.StartupProbe), probe(ctr.ReadinessProbe), probe(ctr.LivenessProbe)
	c.awaitCode(img, 0, startup...)
	c.awaitCode(img, 0, ready...)
	c.awaitCode(img, 0, alive...)
	if text, code := c.exec(img, "/usr/bin/brood", "stop", "web"); code != 0 {
		t.Fatal(text)
	}
	c.awaitCode(img, 1, ready...)
	c.awaitCode(img, 0, alive...) // no reason to kill the pod
}
