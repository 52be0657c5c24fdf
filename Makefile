include packaging/packaging.mk
