{{/* The name of everything, with the role's where there is one. */}}
{{- define "datadistiller.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "datadistiller.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "datadistiller.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "datadistiller.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "datadistiller.selector" -}}
app.kubernetes.io/name: {{ include "datadistiller.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "datadistiller.labels" -}}
{{ include "datadistiller.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "datadistiller.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "datadistiller.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "datadistiller.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What a container may do: nothing but compute, and write to what is mounted for it. */}}
{{- define "datadistiller.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "datadistiller.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The keys of the Secret that a role may read. */}}
{{- define "datadistiller.secretKeys" -}}
{{- $keys := .root.Values.secret.keys -}}
{{- if eq .role "api" -}}
{{- $keys = concat $keys .root.Values.secret.apiKeys -}}
{{- end -}}
{{- join "," $keys -}}
{{- end -}}

{{/* A setting as text. Helm reads numbers as floating point, and would write 100000000 as 1e+08. */}}
{{- define "datadistiller.value" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}
