{{/* The name of all objects. The release `schedia` makes what deploy/manifests makes. */}}
{{- define "schedia.fullname" -}}
{{- default (printf "%s-operator" .Release.Name) .Values.fullnameOverride -}}
{{- end -}}

{{- define "schedia.selectorLabels" -}}
app.kubernetes.io/name: schedia
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The labels of all objects. Ours win over those of the values. */}}
{{- define "schedia.labels" -}}
{{- $ours := include "schedia.selectorLabels" . | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- merge $ours (deepCopy .Values.commonLabels) | toYaml -}}
{{- end -}}

{{/* metadata.labels and metadata.annotations; to be indented by 2. */}}
{{- define "schedia.metadata" -}}
labels:
  {{- include "schedia.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "schedia.serviceAccountName" -}}
{{- default (include "schedia.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "schedia.image" -}}
{{- with .Values.image -}}
{{- .repository -}}
{{- with .tag }}:{{ . }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}
