{{- /* Names and labels that more than one template needs. */ -}}

{{- define "reiter8.name" -}}
{{- if contains "reiter8" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-reiter8" (.Release.Name | trunc 42 | trimSuffix "-") }}{{ end -}}
{{- end -}}

{{- /* Cluster-wide names carry the namespace, unless it is the usual one: two releases must not share them. */ -}}
{{- define "reiter8.clusterName" -}}
{{- if eq .Release.Namespace "reiter8-system" }}{{ include "reiter8.name" . }}{{ else }}{{ printf "%s-%s" .Release.Namespace (include "reiter8.name" .) }}{{ end -}}
{{- end -}}

{{- define "reiter8.selector" -}}
app.kubernetes.io/name: reiter8
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "reiter8.labels" -}}
{{ include "reiter8.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "reiter8.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "reiter8.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end -}}

{{- define "reiter8.subject" -}}
- kind: ServiceAccount
  name: {{ include "reiter8.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "reiter8.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- /* What the controller does to experiments and what they refer to. Workloads are never written. */ -}}
{{- define "reiter8.rules" -}}
# Finalizer and handled verbs are in the metadata; the spec is never written.
- apiGroups: [iter8.tools]
  resources: [experiments]
  verbs: [get, list, watch, patch]
- apiGroups: [iter8.tools]
  resources: [experiments/status]
  verbs: [get, update, patch]
- apiGroups: [iter8.tools]
  resources: [metrics, repositories]
  verbs: [get, list, watch]
# The weights are the only thing that is written to the mesh.
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch]
- apiGroups: [networking.istio.io]
  resources: [destinationrules, serviceentries]
  verbs: [get, list]
{{- range .Values.otherRoutes }}
- apiGroups: [{{ .apiGroup }}]
  resources: [{{ join ", " .resources }}]
  verbs: [get, list, watch, patch]
{{- end }}
# Workloads are read, never written.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch]
# Selectors tell which workload a destination leads to.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
